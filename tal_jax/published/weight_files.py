"""Weight files of PyTorch and NumPy and pickles of NumPy arrays, read without running anything in them.

A file's pickle gives a tree of parts (pickles.py). The arrays are made here, every size checked against the
bytes that are really there.
"""

import functools
import io
import itertools
import math
import mmap
import pathlib
import struct
import zipfile

import jax.numpy as jnp
import numpy as np

from tal_jax.errors import DataError
from tal_jax.published.pickles import MAX_NAMES, STORAGE_TYPES, Part, Pickle, Refused

MAX_DEPTH = 20  # of nested dicts
# How many times its size an archive may hold. Trained weights hardly get smaller when they are compressed.
MAX_GROWTH = 20

_LEGACY_TORCH = 0x1950A86A20F9469CFC6C  # the first object in a file of torch <= 1.5
_NUMPY_TYPES = ("f2", "f4", "f8", "i8", "i4", "u1", "b1")
# What the state_dict of a checkpoint may be called; where there is a running mean of it, that is meant.
_WRAPPERS = ("model", "model_state", "state_dict_ema", "state_dict")


def read_weights(path, beside=()):
    """Reads the arrays of a weight file.

    Args:
      path: a PyTorch checkpoint of any version (a state_dict, or a dict that has one under "state_dict_ema",
        "state_dict", "model" or "model_state"), a pickle of nested dicts of NumPy arrays, an .npz or an .npy
        file; told apart by content.
      beside: names of arrays that are wanted too if they lie beside the state_dict. All others that lie there
        are left out.

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
        except Refused as refusal:
            raise DataError(f"{path} {refusal}") from None
        except Exception as error:  # whatever a damaged file leads the parsers to, MemoryError included
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise DataError(f"{path} is damaged, cut short, or not a file of weights ({reason}).") from error


def require_finite(weights, path):
    """Raises DataError if a damaged file gave numbers that are not finite.

    Args:
      weights: name -> array, as `read_weights` gives it.
      path: the file, for the message.
    """
    for name, array in weights.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{path} holds values under {name:.100} that are not finite; get the file again.")


def _parse(file, stem):
    """An open file -> (tree whose leaves are arrays and parts, function: key of a storage -> its bytes)."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b"PK"):
        return _parse_zip(file)
    if start == b"\x93NUMPY":
        return {stem: np.load(file, allow_pickle=False)}, None
    # A map reads no more than the file has, however much a pickle asks for.
    content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    first = Pickle(content).tree
    return (
        _parse_legacy_torch(content) if isinstance(first, int) and first == _LEGACY_TORCH else (first, None)
    )


def _parse_zip(file):
    """An archive, of NAME.npy for each array, or of torch >= 1.6: FOLDER/data.pkl, and the bytes of storage
    KEY in FOLDER/data/KEY.
    """
    archive = zipfile.ZipFile(file)
    held, size = sum(entry.file_size for entry in archive.infolist()), file.seek(0, 2)
    if held > MAX_GROWTH * size:
        found = f"has {size} bytes, and says that it holds {held}, more than {MAX_GROWTH} times as many"
        raise Refused(f"{found}; save it uncompressed.")
    pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
    if not pickles:
        file.seek(0)
        return dict(np.load(file, allow_pickle=False)), None
    folder = pickles[0].removesuffix("/data.pkl")

    def read(name):
        if archive.getinfo(f"{folder}/{name}").compress_type != zipfile.ZIP_STORED:
            raise Refused(f"has '{name}' compressed, as PyTorch never does; save it again with torch.save.")
        return archive.read(f"{folder}/{name}")

    if f"{folder}/byteorder" in archive.namelist() and read("byteorder") != b"little":
        raise Refused("was written on a big-endian machine; save it again on another one.")
    return Pickle(io.BytesIO(read("data.pkl"))).tree, lambda key: read(f"data/{key}")


def _parse_legacy_torch(file):
    """A file of torch <= 1.5, after its first object: pickles of the version, the system, the tree and the
    keys of the storages; then the element count and the bytes of each storage.
    """
    version, system, checkpoint, keys = (Pickle(file) for _ in range(4))
    if version.tree != 1001 or system.tree["little_endian"] is not True:
        found = "was written by an unknown version of PyTorch or on a big-endian machine"
        raise Refused(f"{found}; save it again with torch.save.")
    if not all(isinstance(key, str) for key in keys.tree):
        raise TypeError("the keys of storages must be texts")
    raw = {}
    for key in keys.tree:
        (count,) = struct.unpack("<q", file.read(8))
        num_bytes = count * jnp.dtype(checkpoint.storage_types[key]).itemsize
        if not 0 <= num_bytes <= len(file) - file.tell():
            found = f"storage {key} should have {count} elements, more than there are bytes left"
            raise Refused(f"is cut short: {found}.")
        raw[key] = file.read(num_bytes)
    return checkpoint.tree, raw.__getitem__


def _named_arrays(tree, read_bytes, beside):
    """The tree of a file -> dict name -> array, without the wrappers that checkpoints have."""
    if not isinstance(tree, dict):
        raise Refused(f"holds one {type(tree).__name__}, not arrays by name.")
    others = {}
    for wrapper in _WRAPPERS:
        others |= {name: tree[name] for name in beside if name in tree}
        if isinstance(tree.get(wrapper), dict):
            tree = tree[wrapper]
    leaves = {name: leaf for name, leaf in _flatten(tree) if name not in others}
    if not leaves:
        raise Refused("holds no arrays.")
    prefix = "module." if all(name.startswith("module.") for name in leaves) else ""

    @functools.cache
    def storage(key, dtype):
        elements = np.frombuffer(read_bytes(key), jnp.dtype(dtype))  # NumPy alone knows no bfloat16
        return elements.astype(np.float32) if dtype == "bfloat16" else elements

    arrays = {name: _array(name, leaf, storage) for name, leaf in (leaves | others).items()}
    return {name.removeprefix(prefix): array for name, array in arrays.items()}


def _flatten(tree):
    """(name, leaf) pairs of nested dicts, in order."""
    visits, letters = itertools.count(1), 0

    def walk(node, prefix, depth):
        nonlocal letters
        for key, value in node.items():
            name = f"{prefix}{key}"
            letters += len(name)
            if next(visits) > MAX_NAMES or depth > MAX_DEPTH or letters > 100 * MAX_NAMES:
                raise Refused(f"has more than {MAX_NAMES} names, or nests them deeper than {MAX_DEPTH}.")
            if isinstance(value, dict):
                yield from walk(value, f"{name}/", depth + 1)
            else:
                yield name, value

    return walk(tree, "", 1)


def _array(name, leaf, storage):
    """The array of a leaf: an array already, a number, or parts to be put together."""
    if isinstance(leaf, (bool, int, float)):
        leaf = np.asarray(leaf)
    while isinstance(leaf, Part) and leaf.kind == "parameter":
        leaf = leaf.args[0]
    match leaf:
        case Part(kind="tensor"):
            leaf = _tensor(storage, *leaf.args[:4])
        case Part(kind="array"):  # NumPy up to protocol 4
            _, shape, dtype, is_fortran, raw = leaf.state
            leaf = _from_bytes(raw, dtype, shape, "F" if is_fortran else "C")
        case Part(kind="buffer"):  # NumPy with protocol 5
            leaf = _from_bytes(*leaf.args)
    if not isinstance(leaf, np.ndarray) or leaf.dtype.name not in STORAGE_TYPES.values():
        raise Refused(f"has under '{name}' something else than an array of numbers.")
    return leaf


def _tensor(storage, base, offset, size, stride):
    """A view of a storage, from an offset on; size and stride of each axis, in elements."""
    if base.kind != "storage":
        raise Refused(f"is damaged: a tensor is made of a {base.kind}.")
    key, dtype, count, first, length = base.args
    numbers = (first, length, count, offset, *size, *stride)
    _require_whole(numbers)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    num_elements, elements = math.prod(size), storage(key, dtype)
    fits = first + length <= count <= len(elements) and (
        num_elements == 0 or max(num_elements, last + 1) <= length
    )
    if not fits or not all(type(n) is int and n >= 0 for n in numbers):
        found = f"a tensor of size {size!s:.60} and stride {stride!s:.60} from {offset!s:.60}"
        within = f"{key!r:.60} (elements {first} to {first + length} of {len(elements)})"
        raise Refused(f"is damaged: {found} lies not within its storage {within}.")
    elements, itemsize = elements[first : first + length], elements.itemsize
    return np.ndarray(size, elements.dtype, elements, offset * itemsize, [n * itemsize for n in stride])


def _require_whole(numbers):
    """Refuses sizes that take for ever to multiply: texts, and more or longer numbers than arrays have."""
    if len(numbers) > 200 or not all(isinstance(number, int) and abs(number) < 2**63 for number in numbers):
        raise TypeError("sizes must be whole numbers")


def _from_bytes(raw, dtype, shape, order):
    """An array that NumPy pickled. dtype: a part (code, ...) with the state (version, byte order, ...)."""
    code, byte_order = dtype.args[0], dtype.state[1]
    _require_whole(shape)
    if dtype.kind != "dtype" or code not in _NUMPY_TYPES or byte_order not in ("<", "|", "="):
        found = f"has an array of the type {byte_order:.20}{code:.60}"
        raise Refused(f"{found}; only little-endian numbers are read.")
    array_type = np.dtype(code)
    if not isinstance(raw, (bytes, bytearray)) or len(raw) != math.prod(shape) * array_type.itemsize:
        raise Refused(f"is damaged: an array of shape {shape} has another number of bytes.")
    return np.ndarray(shape, array_type, raw, order=order)
