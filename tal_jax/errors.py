"""What main.py says in one sentence, without a traceback: the user can mend it."""


class DataError(ValueError):
    """One sentence that says what is wrong with a file or a field, where, and what to do."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class ProcessLost(RuntimeError):
    """Another process of the run did not come or is gone; if all are started again they go on from what was saved."""


def sentence_of(error):
    """The text of an error on one line; of a DataError in a config file, which comes with a traceback around it, the sentence alone.

    What the operating system refuses is said without its number.
    """
    if isinstance(error, OSError) and error.strerror:
        return f"{f'Cannot use {error.filename}: ' if error.filename else ''}{error.strerror}."
    return " ".join(str(error).rpartition(f"{DataError.__module__}.{DataError.__name__}: ")[2].split())
