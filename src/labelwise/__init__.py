"""labelwise: better image classifiers by working on their labels."""

__version__ = "0.1.0"
