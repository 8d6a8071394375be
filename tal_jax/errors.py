"""What main.py says in one sentence, without a traceback: the user can mend it."""


class DataError(ValueError):
    """One sentence that says what is wrong with a file or a field, where, and what to do."""


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class ProcessLost(RuntimeError):
    """Another process of the run did not come or is gone; if all are started again they go on from what was saved."""


def sentence_of(error):
    """The text of an error on one line; of a DataError in a config file, which comes with a traceback around it, the sentence alone."""
    return " ".join(str(error).rpartition(f"{DataError.__module__}.{DataError.__name__}: ")[2].split())


def reason_of_failure(path, work):
    """Why work() on the video `path` failed, "" if it did not. OSError is raised: a full disk is not the video's fault."""
    try:
        work()
    except OSError:
        raise
    except DataError as error:
        return str(error)
    except Exception as error:  # whatever a library makes of a damaged file costs this video alone
        return f"The video {path} cannot be used: {type(error).__name__}: {error}"
    return ""
