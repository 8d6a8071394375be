"""Ways to damage a file: each takes its bytes and a random.Random, and gives other bytes."""

import io
import json
import math
import os
import pickle
import zipfile

import numpy as np

NUMBERS = (
    0,
    -1,
    1,
    0.1,
    1e308,
    -1e308,
    1e-320,
    2**31,
    2**63,
    10**30,
    10**299,
    True,
    math.nan,
    math.inf,
    -math.inf,
)
TEXTS = (
    "", " ", "/", "..", "../outside", "/tmp/outside", "a/b", "a\\b", "a\nb", "a\0b", "\x1b[31m", "a" * 300,
    "\u00e9" * 120, "\u2028",
    "\U0001f600", ".hidden", "con", "nan", "1_0", "1e999", "0x10", "9" * 400, "%s%n", "{0}",
    "$(touch outside)", "`touch outside`",
)  # fmt: skip
OTHER = (None, [], {}, [[]], [None], {"a": None}, [1, 2, 3], "text", 7)


class Marked:
    """Pickled as a call that writes the file MARKER into the current folder."""

    def __reduce__(self):
        return os.system, ("touch MARKER",)


# Of any file.


def cut(content, rng):
    return content[: rng.randrange(len(content))] if content else content


def flip(content, rng):
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8, 64)) if content else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def flip_early(content, rng):
    return flip(content[:128], rng) + content[128:]


def overwrite(content, rng):
    start, size = rng.randrange(len(content) + 1), rng.choice((1, 2, 4, 8, 100))
    return (
        content[:start]
        + rng.choice((b"\xff", b"\0", b"\x7f", b"9", b"(", b"[")) * size
        + content[start + size :]
    )


def repeat(content, rng):
    start = rng.randrange(len(content) + 1)
    end = min(len(content), start + rng.choice((1, 4, 40)))
    return content[:end] + content[start:end] * rng.choice((1, 3, 50)) + content[end:]


def remove(content, rng):
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 2, 4, 16)) :]


def another(content, rng):
    """Something else altogether."""
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, np.array([Marked(), {}], object), allow_pickle=True)
    zipfile.ZipFile(archive, "w").close()
    return rng.choice(
        (
            b"", b"\n", b"\0" * 100, b"PK\x03\x04", b"\x93NUMPY", b"GIF89a" + bytes(20),
            b"RIFF\xff\xff\xff\xffWAVE", b"PAR1PAR1",
            b"\x89HDF\r\n\x1a\n", b"\xfd7zXZ\0", b"{}", b"[]", b"null", b"NaN", b'"text"',
            rng.randbytes(300), b"\xef\xbb\xbf",
            pickle.dumps(Marked()), pickle.dumps({"weights": Marked()}, 2), array.getvalue(),
            archive.getvalue(), b"\x80\x04N.",
        )
    )  # fmt: skip


BYTES = {
    function.__name__: function for function in (cut, flip, flip_early, overwrite, repeat, remove, another)
}

# Of text.


def encoding(content, rng):
    text = content.decode("latin-1")
    return rng.choice(
        (
            text.encode("utf-16"), text.encode("utf-32"), text.encode("utf-16-be"),
            b"\xef\xbb\xbf" + content, content + b"\xff\xfe",
            b"\xff\xfe" + content, text.replace("a", "\u00e9").encode("latin-1"), text.replace("o",
            "\u00fc").encode("cp1252", "replace"),
            text.encode("utf-7"), content.replace(b"a", b"\xed\xa0\x80"), content.replace(b"\n", b"\r"),
        )
    )  # fmt: skip


def long_cell(content, rng):
    start = rng.randrange(len(content) + 1)
    return (
        content[:start]
        + rng.choice((b"9", b"a", b",", b'"', b" ", b"[", b"(")) * rng.choice((300, 5_000, 140_000))
        + content[start:]
    )


def cells(content, rng):
    """One word or number of a text becomes something else."""
    parts = (
        content.decode("latin-1")
        .replace(",", "\0,\0")
        .replace(" ", "\0 \0")
        .replace("\n", "\0\n\0")
        .split("\0")
    )
    value = rng.choice(
        TEXTS
        + tuple(map(str, NUMBERS))
        + ('"', '"a', "2026-13-45", "25:99:99", "#", "1,5", "-", "inf", "\ufeff")
    )
    parts[rng.randrange(len(parts))] = value
    return "".join(parts).encode("utf-8", "surrogatepass")


def lines(content, rng):
    """Lines are left out, swapped or written twice."""
    rows = content.splitlines(keepends=True) or [b""]
    for _ in range(rng.choice((1, 2, 5))):
        i, j = rng.randrange(len(rows)), rng.randrange(len(rows))
        rows[i : i + 1] = rng.choice(([], [rows[j]], [rows[i], rows[i]], [b"\n"], [rows[i].rstrip(b"\n")]))
        rows = rows or [b""]
    return b"".join(rows)


TEXT = BYTES | {function.__name__: function for function in (encoding, long_cell, cells, lines)}

# Of JSON.


def _paths(tree, path=()):
    """The path to each value of nested dicts and lists."""
    yield path
    for key, value in (
        tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    ):
        yield from _paths(value, (*path, key))


def _replaced(tree, path, function):
    if not path:
        return function(tree)
    copy = tree.copy()
    copy[path[0]] = _replaced(tree[path[0]], path[1:], function)
    return copy


def _anywhere(content, rng, function):
    tree = json.loads(content)
    return _replaced(tree, rng.choice(list(_paths(tree))), function)


def value(content, rng):
    """A value becomes one of another type, a number that is huge or none, or a strange text."""
    new = rng.choice(rng.choice((NUMBERS, TEXTS, OTHER)))
    return json.dumps(_anywhere(content, rng, lambda _: new)).encode()


def token(content, rng):
    """A value becomes text that no `json.dumps` writes."""
    made = json.dumps(_anywhere(content, rng, lambda _: "@@"))
    depth = rng.choice((50, 900, 3_000, 100_000))
    tokens = (
        "9" * 400, "9" * 5_000, "-" + "9" * 700, "1e99999", "NaN", "-Infinity", '"\\ud800"',
        '"\\udc00\\ud800"', "[" * depth, "01", "'a'",
        "[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, '"a\nb"', "tru", '{"a":1,"a":2}',
        "1.", "+1", "[1,]", '"\\u0000"',
    )  # fmt: skip
    return made.replace('"@@"', rng.choice(tokens)).encode()


def key(content, rng):
    """A key becomes a strange one, is there twice, or is gone."""
    tree = json.loads(content)
    owners = [path for path in _paths(tree) if path and isinstance(path[-1], str)]
    if not owners:
        return content
    path, new, kind = rng.choice(owners), rng.choice(TEXTS), rng.randrange(3)
    name = path[-1]

    def change(owner):
        if kind == 0:
            return {new if k == name else k: v for k, v in owner.items()}
        return {k: v for k, v in owner.items() if k != name} if kind == 1 else owner | {"@@": owner[name]}

    return json.dumps(_replaced(tree, path[:-1], change)).replace('"@@"', json.dumps(name)).encode()


JSON = TEXT | {function.__name__: function for function in (value, token, key)}
JSON |= {f"{name} again": JSON[name] for name in ("value", "token", "key")}  # these find most

# Of arguments, --config.FIELD=VALUE.


def setting(content, rng):
    """The field is set to something else."""
    field = content.partition(b"=")[0]
    made = rng.choice(
        TEXTS
        + tuple(map(repr, NUMBERS))
        + ("()", "(1,", "(1, 'a')", "[" * 5_000, "None", "{}", "a,b", "1,2", "0.3,nan", "1e400")
    )
    return field + b"=" + made.encode("utf-8", "surrogatepass")


ARGUMENT = TEXT | {f"setting {i}": setting for i in range(len(TEXT))}
