"""`python -m ipusim` is the `ipusim` command."""

import sys

from ipusim.cli import main

sys.exit(main())
