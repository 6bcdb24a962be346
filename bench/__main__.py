"""The suite: every way of reading that is installed, side by side.

    python -m bench [--size quick|medium|all] [--out FOLDER] [--work PATTERN] [--readers PATTERN]

From the root of the sources. What is here is found by short names, as by the scripts beside it.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from command import main

    sys.exit(main())
