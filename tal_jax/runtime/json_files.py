"""Reading JSON files: what is wrong with one is a sentence, and nothing in one is lost without a word."""

import collections
import json
import pathlib
import re

from tal_jax.errors import DataError

MAX_DIGITS = 300  # of a whole number; a longer one is no float either


def read_json(path, what, hint=""):
    """The content of a JSON file in UTF-8, or in UTF-16 or UTF-32; a byte-order mark is skipped.

    Args:
        path: the file.
        what: the kind of file, for the sentences: "annotation file".
        hint: what to do where the file cannot be read, added to that sentence.

    Returns:
        dict, list, str, float, int, bool or None. A number may be NaN or infinite.

    Raises:
        DataError: the file is missing, empty, of another encoding or no JSON; an object has a key twice; the
            lists and objects are nested too deeply, a whole number has more than `MAX_DIGITS` digits, or a
            text holds half a character.
    """
    try:
        raw = pathlib.Path(path).read_bytes()
    except OSError as error:
        reason = f"{error.strerror or error}.{hint and ' ' + hint}"
        raise DataError(f"Cannot read the {what} {path}: {reason}") from error

    def whole_number(digits):
        if len(digits) > MAX_DIGITS:
            number = f"{len(digits)} digits, {digits:.20}…"
            raise DataError(f"{path}: holds a whole number of {number}; correct the number.")
        return int(digits)

    def unique(pairs):
        found = dict(pairs)
        if len(found) < len(pairs):
            ((twice, _),) = collections.Counter(key for key, _ in pairs).most_common(1)
            key = f"{twice!r:.200}"
            raise DataError(f"{path}: an object has the key {key} twice; keep one of the two, or rename one.")
        return found

    try:
        text = raw.decode(json.detect_encoding(raw)).removeprefix("\ufeff")
        if not text.strip():
            raise DataError(f"{path}: the {what} is empty.")
        content = json.loads(text, parse_int=whole_number, object_pairs_hook=unique)
        if re.search(r"\\u[dD][89a-fA-F]", text):  # perhaps half of a character that takes two of them
            json.dumps(content, ensure_ascii=False).encode()
        return content
    except UnicodeDecodeError as error:
        cause, wrong = error, f"not a text file in UTF-8, so not a {what} in JSON; save it as JSON in UTF-8"
    except json.JSONDecodeError as error:
        cause, wrong = error, f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}"
    except RecursionError as error:
        cause, wrong = error, f"lists and objects are nested too deeply for a {what}; flatten them"
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        cause, wrong = error, f"a text holds half of a character, {half!r}; write the character whole"
    raise DataError(f"{path}: {wrong}.") from cause
