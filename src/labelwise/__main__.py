"""``python -m labelwise``, which is how torchrun starts it."""

import sys

# Python puts the working folder first, where a file of a stranger could stand in for any module that is imported.
if not sys.flags.safe_path:
    del sys.path[0]

from labelwise.cli import main

main()
