"""`python -m composite_flow` is the command line."""

import sys

from composite_flow.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
