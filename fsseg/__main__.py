"""`python -m fsseg`."""

import sys

from fsseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
