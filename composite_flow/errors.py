"""The one family of errors: each carries a sentence that says what is wrong and what to do."""


class CompositeFlowError(Exception):
    """Base of every error raised on purpose; the command line prints its sentence and exits with 1."""


class InputError(CompositeFlowError):
    """An argument cannot be used: wrong shape, not finite, unknown agent, empty."""


class FileError(CompositeFlowError):
    """A file is missing, damaged, foreign or in the way; the sentence names it and the fault."""


class MismatchError(CompositeFlowError):
    """Two things do not belong together, such as a model and data of another problem."""


class TooLargeError(CompositeFlowError):
    """An exact or dense method was asked for where only a sampled or matrix-free one is affordable."""
