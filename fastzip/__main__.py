"""``python -m fastzip`` is the command ``fastzip``."""

import sys

from fastzip.cli import main

sys.exit(main())
