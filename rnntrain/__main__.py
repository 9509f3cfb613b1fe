"""`python -m rnntrain`, which is the `rnntrain` command."""

import sys

from rnntrain.cli import main

if __name__ == "__main__":
    sys.exit(main())
