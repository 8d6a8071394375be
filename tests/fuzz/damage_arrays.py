"""Ways to damage files of arrays: .npy, zip archives of them or of PyTorch, and pickles; see `damage`."""

import ast
import dataclasses
import io
import struct
import zipfile

import numpy as np

from tests.fuzz.damage import BYTES, Marked
from tests.published.test_weight_files import Call, Global, Stored, numpy_array, pickled, tensor, write_zip

# Of .npy.


def header(content, rng):
    """The header of a .npy file says something else; its length fits."""
    (size,) = struct.unpack("<H", content[8:10])
    text = content[10 : 10 + size].decode("latin-1").strip()
    fields = ast.literal_eval(text)
    field = rng.choice(list(fields))
    fields[field] = rng.choice(
        (
            "|O", "<U4", "<f16", "<c8", ">f4", "|V8", "<M8[s]", "|b1", "|S4", "<f2", [("a", "<f4"), ("b",
            "|O")], "x", 3, None, True, (), (-1, 3),
            (10**12, 3), (2**40, 2**40), (0, 3), (3, 0), (2**64,), (True, 3), (1.5, 3), ("a",), (1,) * 40,
            (4,), (1, 20, 3), ((4, 3),),
        )
    )  # fmt: skip
    made = rng.choice(
        (
            repr(fields), repr(fields), repr(fields), text[:-1], text + "(", "{" * 300, "(" * 9_000, "",
            text.replace("'", '"""'), "\\\n" + text,
            text.replace("False", "__import__('os').system('touch MARKER')"), "[" * 100 + text,
            text.replace("{", "{'more': 1, "), "1\n 2\n3",
            text.replace("(", "(9" + "9" * 5_000), "'", text.replace("'", "\0"), text + "\xff",
        )
    ).encode("latin-1")  # fmt: skip
    return content[:8] + struct.pack("<H", len(made)) + made + content[10 + size :]


def objects(content, rng):
    """An array of Python objects, of which one would run something."""
    file = io.BytesIO()
    np.save(file, np.array([[Marked(), 1.0]], object), allow_pickle=True)
    return file.getvalue()


NPY = BYTES | {function.__name__: function for function in (header, objects)}
NPY |= {"header again": header}

# Of zip archives, of arrays or of PyTorch.


def _members(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def member(content, rng):
    """What is inside a file of the archive is damaged."""
    members = _members(content)
    name = rng.choice(list(members))
    damage = rng.choice(list((NPY if name.endswith(".npy") else BYTES).values()))
    members[name] = damage(members[name], rng)
    return _zipped(members.items(), rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))


def names(content, rng):
    """A file of the archive is called otherwise, is there twice, is a folder, or is compressed otherwise."""
    members = list(_members(content).items())
    i = rng.randrange(len(members))
    name, data = members[i]
    made = rng.choice(
        (
            [(f"../{name}", data)], [("/tmp/outside.npy", data)], [(name, data)] * 2, [(f"{name}/", b"")],
            [("a.txt", data)], [("x" * 300, data)],
            [], [("features.npy", data), ("other.npy", data)], [("a\nb.npy", data)], [("features", data)],
            [("features.npy", b"")], [(".npy", data)],
        )
    )  # fmt: skip
    members[i : i + 1] = made
    return _zipped(
        members, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    )


def entries(content, rng):
    """A field of the archive's lists says something else: encrypted, compressed otherwise, another size."""
    changed = bytearray(content)
    mark, fields = rng.choice(
        (
            (b"PK\x01\x02", (6, 8, 10, 20, 24, 28, 30, 32, 34, 38, 42)),
            (b"PK\x03\x04", (4, 6, 8, 18, 22, 26, 28)),
        )
    )
    starts = [i for i in range(len(content)) if content.startswith(mark, i)] or [0]
    at = rng.choice(starts) + rng.choice(fields)
    changed[at : at + 2] = rng.choice(
        (b"\x01\x00", b"\x63\x00", b"\x0c\x00", b"\xff\xff", b"\x00\x00", b"\x08\x08", b"\xff\x7f")
    )
    return bytes(changed)


ZIP = BYTES | {function.__name__: function for function in (member, names, entries)}
ZIP |= {f"{name} again": ZIP[name] for name in ("member", "names", "entries")}

# Of pickles.


def opcode(content, rng):
    """An instruction that asks for much: memory, another function, a thing that is not there."""
    asking = (
        b"r\xff\xff\xff\x07", b"r\xff\xff\xff\x7f", b"p4000000000\n", b"j\xff\xff\xff\x7f",
        b"\x8b\xff\xff\xff\x7f", b"L" + b"9" * 5_000 + b"L\n",
        b"\x8e" + struct.pack("<Q", 2**40), b"\x96" + struct.pack("<Q", 2**40), b"\x8d" + struct.pack("<Q",
        2**33), b"X\xff\xff\xff\x7f",
        b"\x95" + struct.pack("<Q", 2**50), b"cos\nsystem\n(Vtouch MARKER\ntR",
        b"(Vtouch MARKER\nios\nsystem\n", b"c__builtin__\neval\n", b"0", b"2",
        b"\x82\x01", b"Pid\n", b"Q", b"b", b"R", b"s", b"u", b"a", b"\x81", b"\x93", b"}" * 2_000,
        b"(" * 2_000, b"I99\n", b"\x80\xff", b"\x97",
    )  # fmt: skip
    start = rng.choice((2, rng.randrange(len(content) + 1)))
    return content[:start] + rng.choice(asking) + content[start:]


WHOLE = tensor("0", "Float", 12, (3, 4), (4, 1))
ODD = (
    None,
    True,
    -1,
    0,
    10**9,
    2**64,
    2**90,
    "text",
    "storage",
    (),
    (1,),
    (3, 4, 5),
    (10**7, 10**7),
    [],
    [[1]],
    {},
    {"a": 1},
    ("text", 10**9),
)


def _parts(node, path=()):
    """The path to everything that a pickle is made of."""
    yield path
    inside = {}
    if isinstance(node, (Call, Stored)):
        inside = vars(node)
    elif isinstance(node, dict):
        inside = node
    elif isinstance(node, (tuple, list)):
        inside = dict(enumerate(node))
    for name, part in inside.items():
        yield from _parts(part, (*path, name))


def _exchanged(node, path, new):
    if not path:
        return new
    name, *rest = path
    if isinstance(node, (Call, Stored)):
        return dataclasses.replace(node, **{name: _exchanged(getattr(node, name), rest, new)})
    if isinstance(node, dict):
        return node | {name: _exchanged(node[name], rest, new)}
    return type(node)(_exchanged(part, rest, new) if i == name else part for i, part in enumerate(node))


def _odd_pickle(tree, rng):
    """A pickle in which one part is something else."""
    paths = [path for path in _parts(tree) if path]
    return pickled(
        _exchanged(
            tree,
            rng.choice(paths),
            rng.choice(ODD + (WHOLE, Stored(("storage",)), Global("torch", "FloatStorage"))),
        )
    )


def parts(content, rng):
    """One part of a NumPy array, as it is pickled, is something else."""
    return _odd_pickle({"state_dict": {"a": numpy_array(np.ones((3, 4), np.float32))}}, rng)


def tensors(content, rng):
    """One part of a tensor, as PyTorch writes it, is something else."""
    program = _odd_pickle({"state_dict": {"a": WHOLE}}, rng)
    return write_zip(io.BytesIO(), program, {"0": np.arange(12, dtype=np.float32)}).getvalue()


PICKLE = BYTES | {function.__name__: function for function in (opcode,)}
PICKLE |= {f"opcode {i}": opcode for i in range(4)} | {f"parts {i}": parts for i in range(4)}
TORCH = ZIP | {f"tensors {i}": tensors for i in range(4)}
