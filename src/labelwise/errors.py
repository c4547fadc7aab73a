"""Errors that a user can do something about: the command line prints them as one line and exits non-zero."""


class LabelwiseError(Exception):
    """Something outside the code is wrong (a file, a key, a label); the message says what and what to do."""


class ConfigError(LabelwiseError):
    """A recipe or a ``--set`` option is wrong."""


class DataError(LabelwiseError):
    """A data set, an image or a label cannot be used as it is."""


class ModelError(LabelwiseError):
    """A network or a checkpoint does not fit."""


class RunError(LabelwiseError):
    """A run folder cannot be written, read or resumed."""


class InputError(DataError, ValueError):
    """An array that was passed to a function cannot be used; a ``ValueError`` too, as scikit-learn expects."""
