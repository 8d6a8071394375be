"""What main.py says in one sentence, without a traceback: the user can mend it."""

import unicodedata

UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, what separates lines


class DataError(ValueError):
    """One sentence that says what is wrong with a file or a field, where, and what to do.

    The sentence may quote a file: it is put on one line, and what no terminal shows is written out, as in
    \\x1b.
    """

    def __init__(self, sentence):
        super().__init__(plain(sentence))


def plain(text):
    """A text on one line, with control characters and halves of characters written out: "\\x1b" for an
    escape.
    """
    if text.isprintable():
        return text
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in UNPRINTABLE
        else character
        for character in text.replace("\n", " ")
    )


class TrainingError(RuntimeError):
    """Training cannot go on; the message says at which step and why."""


class ProcessLost(RuntimeError):
    """Another process of the run did not come or is gone; if all are started again they go on from what was
    saved.
    """


def sentence_of(error):
    """The text of an error on one line, as `plain` gives it.

    Of a DataError in a config file, which comes with a traceback around it, the sentence alone; of an OSError
    what the system says and the file, without the error's number; of a RecursionError, which arguments lead
    the parser of flags to, what to do.
    """
    if isinstance(error, RecursionError):
        return "an argument is too long, or nested too deeply; shorten it."
    if isinstance(error, OSError) and error.strerror:
        return plain(
            f"Cannot use {error.filename}: {error.strerror}." if error.filename else f"{error.strerror}."
        )
    return plain(" ".join(str(error).rpartition(f"{DataError.__module__}.{DataError.__name__}: ")[2].split()))
