"""Errors that the user can correct: main.py says them in one sentence, without a traceback."""

import logging
import re

# control characters, what separates lines, halves of characters
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class DataError(ValueError):
    """One sentence that says what is wrong with a file or a field, where, and what to do.

    The sentence may quote a file: it is put on one line, and what no terminal shows is written out, as in
    \\x1b.
    """

    def __init__(self, sentence):
        super().__init__(plain(sentence))


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class ProcessLost(RuntimeError):
    """Another process of the run did not come or is gone; if all are started again they go on from what was
    saved.
    """


class PlainFormatter(logging.Formatter):
    """Formats a logged message as `plain` does, whatever the files that it quotes hold."""

    def formatMessage(self, record):
        return plain(record.message)


class WarnedOnce(logging.Filter):
    """Lets each warning through once: a data set that a command loads several times has the same to say."""

    def __init__(self):
        super().__init__()
        self._said = set()

    def filter(self, record):
        if record.levelno != logging.WARNING:
            return True
        message = record.getMessage()
        again = message in self._said
        self._said.add(message)
        return not again


def plain(text):
    """A text on one line, with control characters and halves of characters written out: "\\x1b" for an
    escape.
    """
    text = text.replace("\n", " ")
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def sentence_of(error):
    """The text of an error on one line, as `plain` gives it.

    A DataError in a config file comes with a traceback around it; the sentence alone is taken. An OSError
    gives what the system says and the file, without the error's number. A RecursionError, to which arguments
    lead the parser of flags, gives what to do.
    """
    if isinstance(error, RecursionError):
        return "an argument is too long, or nested too deeply; shorten it."
    if isinstance(error, OSError) and error.strerror:
        where = f"Cannot use {error.filename}: " if error.filename else ""
        return plain(f"{where}{error.strerror}.")
    return plain(" ".join(str(error).rpartition(f"{DataError.__module__}.{DataError.__name__}: ")[2].split()))
