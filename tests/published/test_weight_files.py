"""Reading weight files: the bytes of PyTorch's formats are put together here, so that the tests need no
PyTorch.
"""

import codecs
import dataclasses
import os
import pickle
import struct
import tracemalloc
import zipfile
from typing import Any

import jax
import numpy as np
import pytest

from tal_jax.errors import DataError
from tal_jax.published.trees import require_same_shapes
from tal_jax.published.weight_files import read_weights, require_finite


@dataclasses.dataclass
class Global:
    """`module.name`, as a pickle refers to it."""

    module: str
    name: str


@dataclasses.dataclass
class Call:
    """function(*args), then given a state if there is one."""

    function: Any
    args: tuple
    state: Any = None


@dataclasses.dataclass
class Stored:
    """A persistent id."""

    pid: tuple


def opcodes(value):
    """The pickle program (protocol 2) that puts a value on the stack."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            digits = value.to_bytes(12, "little", signed=True)
            return b"\x8a" + bytes([len(digits)]) + digits
        case str():
            return b"X" + struct.pack("<i", len(value.encode())) + value.encode()
        case Global():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            given = b"" if value.state is None else opcodes(value.state) + b"b"
            return opcodes(value.function) + opcodes(value.args) + b"R" + given
        case Stored():
            return opcodes(value.pid) + b"Q"
        case tuple():
            return b"(" + b"".join(map(opcodes, value)) + b"t"
        case list():
            return b"(" + b"".join(map(opcodes, value)) + b"l"
        case dict():
            return b"}(" + b"".join(opcodes(key) + opcodes(item) for key, item in value.items()) + b"u"


def pickled(value):
    return b"\x80\x02" + opcodes(value) + b"."


def ordered_dict(items, metadata=None):
    """As PyTorch pickles a state_dict: empty, then its attributes, then its items."""
    empty = opcodes(Call(Global("collections", "OrderedDict"), (), {"_metadata": metadata or {}}))
    return b"\x80\x02" + empty + b"(" + b"".join(opcodes(k) + opcodes(v) for k, v in items.items()) + b"u."


def tensor(key, kind, count, size, stride, offset=0, view=()):
    """A tensor in elements of storage `key`; `view` is None or a tuple in files of old versions, else left
    out.
    """
    pid = ("storage", Global("torch", f"{kind}Storage"), key, "cpu", count, *view)
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (Stored(pid), offset, size, stride, False, {}))


def numpy_array(array):
    """A NumPy array in a pickle of protocol 2, which has no bytes."""

    def as_bytes(raw):
        return Call(Global("_codecs", "encode"), (raw.decode("latin1"), "latin1"))

    code, state = array.dtype.str, (None, None, None, -1, -1, 0)
    dtype = Call(Global("numpy", "dtype"), (code[1:], False, True), (3, code[0], *state))
    empty = Global("numpy", "ndarray"), (0,), as_bytes(b"b")
    return Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        empty,
        (1, array.shape, dtype, False, as_bytes(array.tobytes())),
    )


def write_zip(path, program, storages, byteorder=b"little", compression=zipfile.ZIP_STORED):
    """torch >= 1.6."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
    return path


def write_legacy(path, program, storages, little_endian=True):
    """torch <= 1.5."""
    system = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"short": 2}}
    head = (
        pickled(0x1950A86A20F9469CFC6C) + pickled(1001) + pickled(system) + program + pickled(list(storages))
    )
    path.write_bytes(
        head + b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    )
    return path


both_formats = pytest.mark.parametrize("write", [write_zip, write_legacy])

TABLE = np.arange(12, dtype=np.float32)
STORAGES = {"0": TABLE}
SIMPLE = {"table": tensor("0", "Float", 12, (3, 4), (4, 1))}


@both_formats
def test_tensors_are_views_of_storages(tmp_path, write):
    tree = SIMPLE | {
        "transposed": tensor("0", "Float", 12, (4, 3), (1, 4)),
        "part": tensor("0", "Float", 12, (2, 2), (4, 2), offset=5),
        "parameter": Call(
            Global("torch._utils", "_rebuild_parameter"), (tensor("0", "Float", 12, (12,), (1,)), True, {})
        ),
        "lone": tensor("0", "Float", 12, (), (), offset=7),
        "empty": tensor("0", "Float", 12, (0, 4), (4, 1)),
    }
    weights = read_weights(write(tmp_path / "weights.pt", pickled(tree), STORAGES))
    table = TABLE.reshape(3, 4)
    assert list(weights) == list(tree)
    np.testing.assert_array_equal(weights["table"], table)
    np.testing.assert_array_equal(weights["transposed"], table.T)
    np.testing.assert_array_equal(weights["part"], table[1:, 1::2])
    np.testing.assert_array_equal(weights["parameter"], TABLE)
    assert weights["lone"].shape == () and weights["lone"] == 7
    assert weights["empty"].shape == (0, 4)


@both_formats
def test_every_type_of_number(tmp_path, write):
    upper_halves = np.array([0x3F80, 0xC020, 0x7F80], np.uint16)  # 1, -2.5, infinity
    storages = {
        "Half": np.array([0.5, -2], np.float16),
        "Double": np.array([1e-300, 3]),
        "Long": np.array([-(2**62)]),
        "Int": np.array([5, -6], np.int32),
        "Byte": np.array([255], np.uint8),
        "Bool": np.array([True, False]),
        "BFloat16": upper_halves,
    }
    tree = {kind: tensor(kind, kind, array.size, (array.size,), (1,)) for kind, array in storages.items()}
    weights = read_weights(write(tmp_path / "weights.pt", pickled(tree), storages))
    for kind in set(storages) - {"BFloat16"}:
        np.testing.assert_array_equal(weights[kind], storages[kind])
        assert weights[kind].dtype == storages[kind].dtype
    assert weights["BFloat16"].dtype == np.float32 and weights["BFloat16"].tolist() == [1, -2.5, np.inf]


@both_formats
def test_a_checkpoint_is_unwrapped(tmp_path, write):
    names = {"module.a.weight": SIMPLE["table"], "module.b": SIMPLE["table"]}
    wrapped = [
        {"epoch": 3, "state_dict": names},
        {"model": names, "optimizer": {"lr": 1}},
        {"model": {"state_dict": names}},
    ]
    wrapped.append({"model_state": names, "optimizer_dict": {"param_groups": [{"lr": 1}]}})
    for tree in [names, *wrapped]:
        assert list(read_weights(write(tmp_path / "weights.pt", pickled(tree), STORAGES))) == [
            "a.weight",
            "b",
        ]
    assert "module.b" in read_weights(
        write(tmp_path / "weights.pt", pickled({"module.b": SIMPLE["table"]} | SIMPLE), STORAGES)
    )
    metadata = {"": {"version": 1}}
    assert list(read_weights(write(tmp_path / "weights.pt", ordered_dict(names, metadata), STORAGES))) == [
        "a.weight",
        "b",
    ]


@both_formats
def test_what_is_wanted_beside_the_state_dict(tmp_path, write):
    names, wanted = {"module.a.weight": SIMPLE["table"]}, np.array([[0.5, -3], [1e-300, 200]])
    in_torch = tensor("1", "Double", 4, (2, 2), (2, 1)), STORAGES | {"1": wanted}
    for stored, storages in (in_torch, (numpy_array(wanted), STORAGES)):
        more = {"wanted": stored, "other": stored, "epoch": 3}
        for tree in (
            {"state_dict": names} | more,
            {"model": {"state_dict": names} | more},
            names | {"wanted": stored},
        ):
            path = write(tmp_path / "weights.pt", pickled(tree), storages)
            weights = read_weights(path, beside=("wanted", "missing"))
            assert list(weights) == ["a.weight", "wanted"] and weights["wanted"].dtype == np.float64
            np.testing.assert_array_equal(weights["wanted"], wanted)
        path = write(tmp_path / "weights.pt", pickled({"state_dict": names} | more), storages)
        assert list(read_weights(path)) == ["a.weight"]
    # as Python itself does it
    path.write_bytes(pickle.dumps({"state_dict": {"a": TABLE}, "wanted": wanted.T}, 2))
    np.testing.assert_array_equal(read_weights(path, beside=("wanted",))["wanted"], wanted.T)
    for wrong in ("text", {"wanted": 1}, [1, 2]):
        write(path, pickled({"state_dict": names, "wanted": wrong}), STORAGES)
        with pytest.raises(DataError, match="has under 'wanted' something else than an array of numbers"):
            read_weights(path, beside=("wanted",))


def test_files_of_the_first_versions(tmp_path):
    """torch 0.x under Python 2: OrderedDict of a list of pairs, views of storages, four arguments to rebuild
    a tensor.
    """
    view = Stored(("storage", Global("torch", "FloatStorage"), "0", "cpu", 12, ("17", 2, 6)))
    old = Call(Global("torch._utils", "_rebuild_tensor"), (view, 1, (2, 2), (2, 1)))
    new = tensor("0", "Float", 12, (2,), (1,), view=(None,))
    tree = Call(Global("collections", "OrderedDict"), ([["old", old], ["new", new]],))
    weights = read_weights(write_legacy(tmp_path / "weights.pt", pickled(tree), STORAGES))
    np.testing.assert_array_equal(weights["old"], [[3, 4], [5, 6]])
    np.testing.assert_array_equal(weights["new"], [0, 1])


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_of_nested_numpy_arrays(tmp_path, protocol):
    table = TABLE.reshape(3, 4)
    tree = {"params": {"Branch_1/conv": {"kernel": table, "fortran": np.asfortranarray(table)}}}
    tree |= {"empty": np.zeros((0, 2)), "step": 7, "flags": np.array([True, False])}
    (tmp_path / "weights.ckpt").write_bytes(pickle.dumps(tree, protocol))
    weights = read_weights(tmp_path / "weights.ckpt")
    assert list(weights) == [
        "params/Branch_1/conv/kernel",
        "params/Branch_1/conv/fortran",
        "empty",
        "step",
        "flags",
    ]
    np.testing.assert_array_equal(weights["params/Branch_1/conv/kernel"], table)
    np.testing.assert_array_equal(weights["params/Branch_1/conv/fortran"], table)
    assert (
        weights["empty"].shape == (0, 2)
        and weights["step"] == 7
        and weights["flags"].tolist() == [True, False]
    )


def test_arrays_of_numpy_files(tmp_path):
    np.savez(tmp_path / "two.npz", **{"a/b": TABLE, "c": np.int64(3)})
    weights = read_weights(tmp_path / "two.npz")
    np.testing.assert_array_equal(weights["a/b"], TABLE)
    assert weights["c"] == 3
    np.save(tmp_path / "one.npy", TABLE)
    np.testing.assert_array_equal(read_weights(tmp_path / "one.npy")["one"], TABLE)


class Hostile:
    """Pickled as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path):
    marker, file = tmp_path / "marker", tmp_path / "weights.ckpt"
    for value, named in (
        (Hostile(os.system, f"touch {marker}"), "posix.system"),
        (Hostile(eval, f"open({str(marker)!r}, 'w')"), "builtins.eval"),
        (Hostile(getattr, "text", "upper"), "builtins.getattr"),
        (Hostile(open, str(marker), "w"), "io.open"),
        (np.array([Hostile(os.system, f"touch {marker}")]), "posix.system"),
        (np.array(["text"]), "has an array of the type <U4"),
        (Hostile(codecs.encode, "text", "latin1"), "has under 'weights' something else than an array"),
        (Hostile(codecs.encode, "\u20ac", "latin1"), "is damaged, cut short"),
        (Hostile(codecs.encode, 3, "latin1"), "is damaged, cut short"),
        (Hostile(codecs.decode, b"text", "latin1"), "_codecs.decode"),
        (pickle.PickleError(), "_pickle.PickleError"),
    ):
        file.write_bytes(pickle.dumps({"weights": value}))
        with pytest.raises(DataError, match=named) as error:
            read_weights(file)
        assert str(error.value).startswith(str(file)) and not marker.exists()


@both_formats
@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "system"),
        ("__builtin__", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("torch", "FloatStorage.from_file"),
        ("numpy", "load"),
        ("collections", "OrderedDict.fromkeys"),
        ("tal_jax.published.weight_files", "read_weights"),
    ],
)
def test_a_torch_file_may_name_tensors_alone(tmp_path, write, module, name):
    call = pickled(SIMPLE | {"b": Call(Global(module, name), ("touch marker",))})
    instance = b"\x80\x02(" + opcodes("touch marker") + f"i{module}\n{name}\n.".encode()
    for program in (call, instance):
        with pytest.raises(DataError) as error:
            read_weights(write(tmp_path / "weights.pt", program, STORAGES))
        expected = f"asks for '{module}.{name}', which no weights need; it was refused, and nothing was run."
        assert str(error.value) == f"{tmp_path / 'weights.pt'} {expected}"


def test_nothing_that_a_file_changes_lasts(tmp_path):
    """BUILD sets attributes of whatever it is given; what is given out is new each time."""
    state = (None, {"__defaults__": (1,), "__call__": None, "kind": "parameter", "args": ()})
    names = (
        Global("torch._utils", "_rebuild_tensor_v2"),
        Global("torch", "FloatStorage"),
        Global("collections", "OrderedDict"),
    )
    for name in names:
        program = b"\x80\x02}" + opcodes("a") + opcodes(name) + opcodes(state) + b"bs."
        with pytest.raises(DataError):
            read_weights(write_zip(tmp_path / "hostile.pt", program, STORAGES))
        weights = read_weights(write_zip(tmp_path / "weights.pt", pickled(SIMPLE), STORAGES))
        np.testing.assert_array_equal(weights["table"], TABLE.reshape(3, 4))


@both_formats
@pytest.mark.parametrize(
    "count, size, stride, offset, view",
    [
        (12, (3, 4), (4, 1), 1, ()),
        (12, (13,), (1,), 0, ()),
        (12, (1,), (1,), 12, ()),
        (12, (2,), (-1,), 1, ()),
        (12, (2,), (1,), -1, ()),
        (12, (-1,), (1,), 0, ()),
        (12, (-1, -1), (1, 1), 0, ()),
        (12, (2,), (2**62,), 0, ()),
        (12, (2**40, 2**40), (0, 0), 0, ()),
        (12, (True,), (1,), 0, ()),
        (13, (13,), (1,), 0, ()),
        (-1, (1,), (1,), 0, ()),
        (12, (4,), (1,), 0, (("v", 9, 4),)),
        (12, (4,), (1,), 0, (("v", 6, 3),)),
        (12, (1,), (1,), 0, (("v", -2, 4),)),
    ],
)
def test_a_tensor_must_lie_within_its_storage(tmp_path, write, count, size, stride, offset, view):
    tree = {"crafted": tensor("0", "Float", count, size, stride, offset, view)}
    with pytest.raises(
        DataError,
        match=r"weights.pt is damaged: a tensor of size .* lies not within its storage '0' \(elements",
    ):
        read_weights(write(tmp_path / "weights.pt", pickled(tree), STORAGES))


@pytest.mark.parametrize("size, stride", [((2, 2), (1,)), ((3,), (None,)), (3, (1,)), (("3",), (1,))])
def test_sizes_are_tuples_of_numbers(tmp_path, size, stride):
    tree = {"crafted": tensor("0", "Float", 12, size, stride)}
    with pytest.raises(DataError, match="weights.pt is damaged, cut short, or not a file of weights"):
        read_weights(write_zip(tmp_path / "weights.pt", pickled(tree), STORAGES))


def test_a_tensor_is_made_of_a_storage(tmp_path):
    """Not of something else with as many parts, which would get its type past the list of types."""
    fake = Call(Global("numpy", "dtype"), ("0", "object", 12, 0, 12))
    tree = {"crafted": Call(Global("torch._utils", "_rebuild_tensor_v2"), (fake, 0, (1,), (1,), False, {}))}
    with pytest.raises(DataError, match="is damaged: a tensor is made of a dtype"):
        read_weights(write_zip(tmp_path / "weights.pt", pickled(tree), STORAGES))
    fake = Stored(("storage", Call(Global("numpy", "dtype"), ("object",)), "0", "cpu", 12))
    with pytest.raises(DataError, match="keeps a 'storage' beside its pickle, which is no array"):
        read_weights(write_zip(tmp_path / "weights.pt", pickled({"crafted": fake}), STORAGES))


@pytest.mark.parametrize("count", [10**6, -1, 2**62])
def test_a_legacy_storage_must_lie_within_the_file(tmp_path, count):
    path = write_legacy(tmp_path / "weights.pt", pickled(SIMPLE), STORAGES)
    path.write_bytes(path.read_bytes()[: -TABLE.nbytes - 8] + struct.pack("<q", count) + TABLE.tobytes())
    with pytest.raises(DataError, match=f"is cut short: storage 0 should have {count} elements"):
        read_weights(path)


@pytest.mark.parametrize(
    "dtype, state", [("O8", ("|",)), ("f4", (">",)), ("U4", ("<",)), ("f4,O", ("<",)), ("V4", ("|",))]
)
def test_numpy_pickles_hold_little_endian_numbers(tmp_path, dtype, state):
    data_type = Call(Global("numpy", "dtype"), (dtype, False, True), (3, *state, None, None, None, -1, -1, 0))
    empty = Global("numpy", "ndarray"), (0,), "b"
    array = Call(Global("numpy.core.multiarray", "_reconstruct"), empty, (1, (1,), data_type, False, "raw"))
    (tmp_path / "weights.ckpt").write_bytes(pickled({"a": array}))
    with pytest.raises(DataError, match="has an array of the type .*; only little-endian numbers are read"):
        read_weights(tmp_path / "weights.ckpt")


def test_cut_short_at_any_byte(tmp_path):
    whole = [
        write_zip(tmp_path / "new.pt", pickled(SIMPLE), STORAGES),
        write_legacy(tmp_path / "old.pt", pickled(SIMPLE), STORAGES),
        tmp_path / "numpy.ckpt",
        tmp_path / "one.npy",
        tmp_path / "two.npz",
    ]
    whole[2].write_bytes(pickle.dumps({"a": TABLE}, 4))
    np.save(whole[3], TABLE)
    np.savez(whole[4], a=TABLE, b=TABLE)
    for path in whole:
        content = path.read_bytes()
        assert read_weights(path)
        for size in range(0, len(content), 7):
            path.write_bytes(content[:size])
            with pytest.raises(DataError, match=str(path)):
                read_weights(path)


def nest(levels):
    """Dicts of which each holds the one below twice."""
    tree = {}
    for _ in range(levels):
        tree = {"a": tree, "b": tree}
    return tree


def endless():
    tree = {}
    tree["again"] = tree["model"] = tree
    return tree


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is damaged, cut short, or not a file of weights"),
        (b"# A page of text\n", "is damaged, cut short, or not a file of weights"),
        (b"GIF89a" + bytes(100), "is damaged, cut short, or not a file of weights"),
        (pickle.dumps([1, 2]), "holds one list, not arrays by name"),
        (pickle.dumps({}), "holds no arrays"),
        (pickle.dumps({"a": {"b": "text"}}), "has under 'a/b' something else than an array of numbers"),
        (pickle.dumps(nest(18)), "has more than 100000 names, or nests them deeper than 20"),
        (pickle.dumps(endless()), "has more than 100000 names, or nests them deeper than 20"),
    ],
)
def test_a_foreign_file_is_one_sentence(tmp_path, content, message):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match=f"file {message}"):
        read_weights(tmp_path / "file")


def test_what_is_not_read(tmp_path):
    with pytest.raises(DataError, match="was written on a big-endian machine"):
        read_weights(write_zip(tmp_path / "a.pt", pickled(SIMPLE), STORAGES, byteorder=b"big"))
    with pytest.raises(DataError, match="or on a big-endian machine"):
        read_weights(write_legacy(tmp_path / "a.pt", pickled(SIMPLE), STORAGES, little_endian=False))
    with pytest.raises(DataError, match="has '.*' compressed"):
        read_weights(
            write_zip(tmp_path / "a.pt", pickled(SIMPLE), STORAGES, compression=zipfile.ZIP_DEFLATED)
        )
    with pytest.raises(DataError, match="keeps a 'module' beside its pickle"):
        module = Stored(("module", Global("torch", "FloatStorage"), "0", "cpu", 12))
        read_weights(write_zip(tmp_path / "a.pt", pickled({"a": module}), STORAGES))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match="objects.npy .*Object arrays cannot be loaded"):
        read_weights(tmp_path / "objects.npy")
    np.savez(tmp_path / "text.npz", a=np.array(["text"]))
    with pytest.raises(DataError, match="has under 'a' something else than an array of numbers"):
        read_weights(tmp_path / "text.npz")
    with pytest.raises(OSError):
        read_weights(tmp_path / "missing.pt")


def test_all_that_does_not_fit_is_listed():
    def shapes(**named):
        return {"params": {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in named.items()}}

    expected = shapes(a=(2, 3), b=(4,), c=())
    require_same_shapes(shapes(c=(), b=(4,), a=(2, 3)), expected, "FILE")
    with pytest.raises(DataError) as error:
        require_same_shapes(
            {"params": {"a": np.zeros((3, 2)), "d": np.zeros(1)}, "more": {"e": np.zeros(5)}},
            expected,
            "FILE",
        )
    assert str(error.value) == (
        "FILE does not fit the network: missing (2): params/b (4,), params/c (); too many (2): params/d "
        "(1,), more/e (5,); "
        "of another shape (1): params/a (3, 2) instead of (2, 3)."
    )


def asking(*instructions):
    return b"\x80\x02" + b"".join(instructions) + b"."


def many_copies():
    """One list of pairs, of which an OrderedDict is made again and again."""
    pairs = opcodes([[f"{i}", i] for i in range(2000)]) + b"q\x010"
    copy = opcodes(Global("collections", "OrderedDict")) + b"h\x01\x85R"
    return asking(b"]", pairs, b"(", copy * 500, b"l")


def doubled(once, twice):
    """One object that holds another twice, and so on, 60 times: the instructions to make the first, and the
    others of two objects.
    """
    return once + b"".join(
        b"q" + bytes([i]) + b"0(h" + bytes([i]) + b"h" + bytes([i]) + twice for i in range(60)
    )


FLOAT = Global("torch", "FloatStorage")
ENDLESS = doubled(b")", b"t")  # a tuple


def of_array(shape):
    data_type = Call(Global("numpy", "dtype"), ("f4", False, True), (3, "<", None, None, None, -1, -1, 0))
    empty, raw = (Global("numpy", "ndarray"), (0,), "b"), Call(Global("_codecs", "encode"), ("raw", "latin1"))
    return pickled(
        {"a": Call(Global("numpy.core.multiarray", "_reconstruct"), empty, (1, shape, data_type, False, raw))}
    )


@pytest.mark.parametrize(
    "content",
    [
        asking(b"}", doubled(b")", b"t"), opcodes(1), b"s"),  # a key that takes for ever to hash
        # no kind of storage
        asking(b"(", doubled(b"]", b"l"), opcodes(FLOAT), 3 * opcodes("0"), b"tQ"),
        of_array(("text", 10**7)),
        asking(b"}r\xff\xff\xff\x00"),  # the place of an object in the memory of a pickle
        asking(b"}p9000000\n"),
        asking(b"\x8b\xff\xff\xff\x7f"),  # numbers, texts and bytes that are longer than the file
        asking(b"X\xff\xff\xff\x7f"),
        asking(b"B\xff\xff\xff\x7f"),
        asking(b"\x8e" + struct.pack("<Q", 2**40)),
        asking(b"\x96" + struct.pack("<Q", 2**30)),
        asking(b"\x95" + struct.pack("<Q", 2**40)),
        many_copies(),
        # One long name in many dicts.
        asking(
            b"}", opcodes("x" * 10**5), b"q\x010", *(opcodes(f"{i}") + b"}h\x01K\x01ss" for i in range(2000))
        ),
        # What takes for ever to hash or to multiply, wherever a file may have it.
        asking(b"(", ENDLESS, opcodes(1), b"d"),
        asking(opcodes(Global("collections", "OrderedDict")), b"(((", ENDLESS, opcodes(1), b"tttR"),
        asking(opcodes(Global("_codecs", "encode")), b"(", ENDLESS, opcodes("latin1"), b"tR"),
        asking(ENDLESS, opcodes("name"), b"\x93"),
        asking(b"(", *map(opcodes, ("storage", FLOAT)), ENDLESS, *map(opcodes, ("cpu", 1)), b"tQ"),
        pickled({"a": tensor("0", "Float", 12, (2**62,) * 10**5, (1,) * 10**5)}),
    ],
)
def test_a_pickle_takes_no_more_memory_than_a_file_of_its_size_needs(tmp_path, content):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"^{path} "):
            read_weights(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 100 * len(content) + 2**20


def test_an_archive_holds_no_more_than_trained_weights_would(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", a=np.zeros(10**6, np.float32))
    with pytest.raises(
        DataError, match=r"w.npz has \d+ bytes, and says that it holds 4000128, more than 20 times as many"
    ):
        read_weights(tmp_path / "w.npz")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    np.savez(tmp_path / "w.npz", good=np.ones(3, np.float32), bad=np.array([1.0, value], np.float32))
    with pytest.raises(DataError, match="w.npz holds values under bad that are not finite; get the file"):
        require_finite(read_weights(tmp_path / "w.npz"), tmp_path / "w.npz")
