"""What main.py says in one sentence, without a traceback: the user can mend it."""


class DataError(ValueError):
    """One sentence that says what is wrong with a file or a field, where, and what to do."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""
