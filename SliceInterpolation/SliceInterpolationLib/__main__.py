"""`python -m SliceInterpolationLib`: the command line, in the form that Slicer's subprocess uses."""

import sys

from .cli import main

sys.exit(main())
