"""What this library raises when it is given something that it cannot use.

Every message says what was expected, what came, and how to mend it.
"""


class QDTError(Exception):
    """The base of every error of this library."""


class ConfigError(QDTError, ValueError):
    """A setting has an unknown name or a value out of its range."""


class DatasetError(QDTError, ValueError):
    """A dataset is missing, taken, empty, damaged, or has spaces that the agent cannot use."""


class InputError(QDTError, ValueError):
    """An observation, target return or state does not fit the policy, or values are no finite numbers."""


class NotFittedError(QDTError, RuntimeError, AttributeError):
    """The policy was asked to act, or to be saved, before it was fitted."""


class CheckpointError(QDTError, ValueError):
    """A file is not an agent of this library, or is damaged."""


class RecordError(QDTError, ValueError):
    """The records of an experiment are missing, damaged, or say too little."""


class MissingExtraError(QDTError, ImportError):
    """An optional dependency is needed that is not installed."""


class DatasetWarning(UserWarning):
    """A dataset says something that cannot be used; it is used without."""


class TargetReturnWarning(UserWarning):
    """A policy is asked for more than any episode of its data achieved; nothing says what it will do."""


class DivergenceError(QDTError, ArithmeticError):
    """Training produced a value that is not finite, or such weights were to be saved."""
