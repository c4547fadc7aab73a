"""``python -m labelwise``, which is how torchrun starts it."""

from labelwise.cli import main

main()
