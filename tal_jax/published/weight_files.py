"""Weight files of others, read without running anything that is in them: PyTorch, NumPy, and pickles of NumPy
arrays.

A pickle is a program. Here it may build containers, numbers, strings and `_Part`s, which only remember what
was asked for; the arrays are made afterwards, every size checked against the bytes that are really there.
Before it runs, its instructions are looked through for one that asks for more memory than a file of its size
needs.
"""

import functools
import io
import itertools
import math
import mmap
import pathlib
import pickle
import pickletools
import struct
import zipfile

import numpy as np

from tal_jax.errors import DataError

MAX_NAMES, MAX_DEPTH = 100_000, 20  # a few bytes of pickle can describe endless nests of the same dict
# of a pickle; a tensor takes about 40, and each may make an object of some 100 bytes
MAX_INSTRUCTIONS = 50 * MAX_NAMES
# how many times its size an archive may hold; trained weights hardly get smaller when they are compressed
MAX_GROWTH = 20

_LEGACY_TORCH = 0x1950A86A20F9469CFC6C  # the first object in a file of torch <= 1.5

_STORAGE_TYPES = {
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64",
    "LongStorage": "int64", "IntStorage": "int32", "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
_NUMPY_TYPES = {
    "f2": "float16",
    "f4": "float32",
    "f8": "float64",
    "i8": "int64",
    "i4": "int32",
    "u1": "uint8",
    "b1": "bool",
}

# What a pickle may name (beside OrderedDict), and what it is here: a constructor to call, or a thing to
# mention.
_CONSTRUCTORS = {
    ("torch._utils", "_rebuild_tensor"): "tensor",
    ("torch._utils", "_rebuild_tensor_v2"): "tensor",
    ("torch._utils", "_rebuild_parameter"): "parameter",
    ("numpy", "dtype"): "dtype",
    **{(f"numpy.{core}.multiarray", "_reconstruct"): "array" for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): "buffer" for core in ("core", "_core")},
}
_MENTIONED = {("torch", name): ("type", dtype) for name, dtype in _STORAGE_TYPES.items()} | {
    ("numpy", "ndarray"): ("ndarray",)
}

_WRAPPERS = ("model", "model_state", "state_dict")  # what the state_dict of a checkpoint may be called


class _Refused(Exception):
    """The rest of a sentence that begins with the path."""


class _Part:
    """Something that a pickle asked for, not done: the kind, the arguments, and the state it was to be given."""

    def __init__(self, kind, *args):
        self.kind, self.args, self.state = kind, args, None

    def __setstate__(self, state):
        self.state = state


class _Dict(dict):
    """An OrderedDict whose attributes (`_metadata` of a state_dict) are let go."""

    def __setstate__(self, state):
        pass


class _Unpickler(pickle.Unpickler):
    """Builds containers and `_Part`s. A callable it hands out is new each time, so that nothing lasting can
    be changed.
    """

    def __init__(self, file):
        super().__init__(file)
        self.storage_types = {}
        self._copied = 0  # items that OrderedDicts have been made of
        # one copy, however often a pickle asks for it
        self.latin1 = functools.cache(lambda text: str.encode(text, "latin1"))

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return self._ordered_dict
        # how pickles of protocol 2, PyTorch's among them, have bytes
        if (module, name) == ("_codecs", "encode"):
            return lambda text, _: self.latin1(text)
        if kind := _CONSTRUCTORS.get((module, name)):
            return lambda *args: _Part(kind, *args)
        if (module, name) in _MENTIONED:
            return _Part(*_MENTIONED[module, name])
        raise _Refused(
            f"asks for {f'{module}.{name}'!r:.200}, which no weights need; it was refused, and nothing was "
            f"run."
        )

    def _ordered_dict(self, *items):
        self._copied += sum(map(len, items))
        if self._copied > MAX_NAMES:
            raise _Refused(f"has more than {MAX_NAMES} names.")
        return _Dict(*items)

    def persistent_load(self, pid):
        """pid: ("storage", type, key, device, number of elements); torch 0.x adds (view key, first element,
        length) or None.
        """
        kind, storage_type, key, _, count, *view = pid
        if kind != "storage" or storage_type.kind != "type":
            # the text of nested lists may be endless
            kind = repr(kind) if isinstance(kind, str) else type(kind).__name__
            raise _Refused(f"keeps a {kind:.60} beside its pickle, which is no array.")
        (self.storage_types[key],) = storage_type.args
        return _Part("storage", key, *storage_type.args, count, *(view[0][1:] if any(view) else (0, count)))


def read_weights(path, beside=()):
    """Reads the arrays of a weight file.

    Args:
      path: a PyTorch checkpoint of any version (a state_dict, or a dict that has one under "state_dict",
        "model" or "model_state"), a pickle of nested dicts of NumPy arrays, an .npz or an .npy file; told
        apart by content.
      beside: names of arrays that are wanted too if they lie beside the state_dict; all others there are let
        go.

    Returns:
      dict name -> np.ndarray (perhaps read-only). Names of nested dicts are joined with "/", a "module."
      before all names is taken away, the array of an .npy file has the file's stem. bfloat16 comes as
      float32; a lone number as an array ().

    Raises:
      DataError: the file is damaged or foreign, or asks for anything but arrays and containers.
      OSError: it cannot be opened.
    """
    path = pathlib.Path(path)
    with path.open("rb") as file:
        try:
            return _named_arrays(*_parse(file, path.stem), beside)
        except _Refused as refusal:
            raise DataError(f"{path} {refusal}") from None
        except Exception as error:  # whatever a damaged file leads the parsers to, MemoryError included
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(f"{path} is damaged, cut short, or not a file of weights ({reason}).") from error


def _parse(file, stem):
    """An open file -> (tree whose leaves are arrays and parts, function that gives the bytes of the storage
    with a key).
    """
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"PK"):
        return _parse_zip(file)
    if start == b"\x93NUMPY":
        return {stem: np.load(file, allow_pickle=False)}, None
    # reads what is there, however much a pickle asks for
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    first, _ = _unpickled(content)
    return (
        _parse_legacy_torch(content) if isinstance(first, int) and first == _LEGACY_TORCH else (first, None)
    )


def _unpickled(file):
    """(the object of the next pickle in a file that is held in memory, its storage types by key)."""
    start = file.tell()
    _require_modest(file)
    file.seek(start)
    unpickler = _Unpickler(file)
    return unpickler.load(), unpickler.storage_types


def _require_modest(file):
    """Refuses a pickle that takes much more memory or time than a file of its size needs, and runs nothing of
    it.

    It follows how many objects each tuple holds, those of the tuples in it too: some bytes can describe an
    endless one, and what makes a key of it visits them all.
    """
    stack, kept = [], {}  # of the number of objects; None is a mark
    for number, (instruction, argument, _) in enumerate(pickletools.genops(file)):
        if number > MAX_INSTRUCTIONS:
            raise _Refused(
                f"has a pickle of more than {MAX_INSTRUCTIONS} instructions, which no weights need."
            )
        name = instruction.name
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            place = len(kept) if argument is None else int(argument)
            if place > number:  # one place each, from 0 or 1 on
                raise _Refused(
                    f"is damaged: its pickle has place {place} in its memory, and {number} instructions "
                    f"before it."
                )
            kept[place] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(kept[int(argument)])
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            held = _popped(stack, instruction)
            size = 1 + (sum(held) if name.startswith("TUPLE") else 0)
            if size > MAX_NAMES:
                raise _Refused(f"has a tuple of more than {MAX_NAMES} objects, which no weights need.")
            stack += [None if made is pickletools.markobject else size for made in instruction.stack_after]


def _popped(stack, instruction):
    """Takes off what an instruction of a pickle takes, and gives it without marks."""
    taken = instruction.stack_before
    at = len(stack) - len(taken)
    if pickletools.markobject in taken:
        above = stack[::-1].index(None) + 1  # up to the last mark, and what has to be below it
        at = len(stack) - above - taken.index(pickletools.markobject)
    if at < 0:
        raise ValueError("its pickle takes more from its stack than there is")
    held = [size for size in stack[at:] if size is not None]
    del stack[at:]
    return held


def _parse_zip(file):
    """NAME.npy of each array; or of torch >= 1.6 FOLDER/data.pkl, and the bytes of storage KEY in
    FOLDER/data/KEY.
    """
    archive = zipfile.ZipFile(file)
    sizes, size = sum(entry.file_size for entry in archive.infolist()), file.seek(0, 2)
    if sizes > MAX_GROWTH * size:
        raise _Refused(
            f"has {size} bytes, and says that it holds {sizes}, more than {MAX_GROWTH} times as many; save "
            f"it uncompressed."
        )
    folder = next(
        (name.removesuffix("/data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")), None
    )
    if folder is None:
        file.seek(0)
        return dict(np.load(file, allow_pickle=False)), None

    def read(name):
        if archive.getinfo(f"{folder}/{name}").compress_type != zipfile.ZIP_STORED:
            raise _Refused(f"has '{name}' compressed, as PyTorch never does; save it again with torch.save.")
        return archive.read(f"{folder}/{name}")

    if f"{folder}/byteorder" in archive.namelist() and read("byteorder") != b"little":
        raise _Refused("was written on a big-endian machine; save it again on another one.")
    return _unpickled(io.BytesIO(read("data.pkl")))[0], lambda key: read(f"data/{key}")


def _parse_legacy_torch(file):
    """torch <= 1.5, after the magic number: version, system, tree, storage keys; then element count and bytes
    of each key.
    """
    version, system = (_unpickled(file)[0] for _ in range(2))
    if version != 1001 or system["little_endian"] is not True:
        raise _Refused(
            "was written by an unknown version of PyTorch or on a big-endian machine; save it again with "
            "torch.save."
        )
    tree, storage_types = _unpickled(file)
    raw = {}
    for key in _unpickled(file)[0]:
        (count,) = struct.unpack("<q", file.read(8))
        num_bytes = count * np.dtype(_stored_type(storage_types[key])).itemsize
        if not 0 <= num_bytes <= len(file) - file.tell():
            raise _Refused(
                f"is cut short: storage {key} should have {count} elements, more than there are bytes left."
            )
        raw[key] = file.read(num_bytes)
    return tree, raw.__getitem__


def _named_arrays(tree, read_bytes, beside):
    """The tree of a file -> dict name -> array, without the wrappers that checkpoints have."""
    if not isinstance(tree, dict):
        raise _Refused(f"holds one {type(tree).__name__}, not arrays by name.")
    others = {}
    for wrapper in _WRAPPERS:
        others |= {name: dict.get(tree, name) for name in beside if name in tree}
        if isinstance(dict.get(tree, wrapper), dict):
            tree = tree[wrapper]
    leaves = {name: leaf for name, leaf in _flatten(tree) if name not in others}
    if not leaves:
        raise _Refused("holds no arrays.")
    prefix = "module." if all(name.startswith("module.") for name in leaves) else ""
    storage = functools.cache(lambda key, dtype: _widened(read_bytes(key), dtype))
    arrays = {name: _array(name, leaf, storage) for name, leaf in (leaves | others).items()}
    return {name.removeprefix(prefix): array for name, array in arrays.items()}


def _flatten(tree):
    """(name, leaf) pairs of nested dicts, in order."""
    visits, letters = itertools.count(1), 0

    def walk(node, prefix, depth):
        nonlocal letters
        for key, value in dict.items(node):
            letters += len(prefix)
            if next(visits) > MAX_NAMES or depth > MAX_DEPTH or letters > 100 * MAX_NAMES:
                raise _Refused(f"has more than {MAX_NAMES} names, or nests them deeper than {MAX_DEPTH}.")
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}/", depth + 1)
            else:
                yield f"{prefix}{key}", value

    return walk(tree, "", 1)


def _array(name, leaf, storage):
    """The array of a leaf: an array already, a number, or parts to be put together."""
    if isinstance(leaf, (bool, int, float)):
        leaf = np.asarray(leaf)
    while isinstance(leaf, _Part) and leaf.kind == "parameter":
        leaf = leaf.args[0]
    if isinstance(leaf, _Part) and leaf.kind in _BUILDERS:
        leaf = _BUILDERS[leaf.kind](leaf, storage)
    if not isinstance(leaf, np.ndarray) or leaf.dtype.name not in _STORAGE_TYPES.values():
        raise _Refused(f"has under '{name}' something else than an array of numbers.")
    return leaf


def _tensor(part, storage):
    """A view of a storage: (storage, offset, size, stride, ...), in elements."""
    base, offset, size, stride, *_ = part.args
    if base.kind != "storage":
        raise _Refused(f"is damaged: a tensor is made of a {base.kind}.")
    key, dtype, count, first, length = base.args
    _require_whole(first, length, count, offset, *size, *stride)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    num_elements, elements = math.prod(size), storage(key, dtype)
    fits = first + length <= count <= len(elements) and (
        num_elements == 0 or max(num_elements, last + 1) <= length
    )
    if not fits or not all(type(n) is int and n >= 0 for n in (first, length, offset, *size, *stride)):
        raise _Refused(
            f"is damaged: a tensor of size {size!s:.60} and stride {stride!s:.60} from {offset!s:.60} lies "
            f"not within "
            f"its storage {key!r:.60} (elements {first} to {first + length} of {len(elements)})."
        )
    elements, itemsize = elements[first : first + length], elements.itemsize
    return np.ndarray(size, elements.dtype, elements, offset * itemsize, [n * itemsize for n in stride])


def _require_whole(*numbers):
    """Before they are multiplied: a text times a number is a long text."""
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError("sizes must be whole numbers")


def _stored_type(dtype):
    """The NumPy type that reads the stored numbers."""
    return "uint16" if dtype == "bfloat16" else dtype


def _widened(raw, dtype):
    """Bytes of a storage -> its elements, those of a bfloat16 as float32, of which it is the upper half."""
    elements = np.frombuffer(raw, _stored_type(dtype))
    return (elements.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else elements


def _reconstructed(part, _):
    """An array that NumPy pickled up to protocol 4: its state is (version, shape, dtype, whether Fortran
    order, bytes).
    """
    _, shape, dtype, fortran, raw = part.state
    return _from_bytes(raw, dtype, shape, "F" if fortran else "C")


def _buffered(part, _):
    """An array that NumPy pickled with protocol 5."""
    return _from_bytes(*part.args)


def _from_bytes(raw, dtype, shape, order):
    """dtype: a part (code, ...) with the state (version, byte order, ...)."""
    code, byte_order = dtype.args[0], dtype.state[1]
    _require_whole(*shape)
    if not isinstance(code, str) or not isinstance(byte_order, str):
        raise TypeError("a type of numbers must be a text")
    if dtype.kind != "dtype" or code not in _NUMPY_TYPES or byte_order not in ("<", "|", "="):
        raise _Refused(
            f"has an array of the type {byte_order:.20}{code:.60}; only little-endian numbers are read."
        )
    array_type = np.dtype(_NUMPY_TYPES[code])
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != math.prod(shape) * array_type.itemsize:
        raise _Refused(f"is damaged: an array of shape {shape} has another number of bytes.")
    return np.ndarray(shape, array_type, raw, order=order)


_BUILDERS = {"tensor": _tensor, "array": _reconstructed, "buffer": _buffered}
