"""``python -m fastzip`` is the command ``fastzip``."""

import sys

from fastzip._cli import main

if __name__ == "__main__":
    sys.exit(main())
