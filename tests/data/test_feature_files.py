import numpy as np
import pytest

from tal_jax.data.feature_files import read_features
from tal_jax.data.features import data_config
from tal_jax.errors import DataError


def read(path, **fields):
    return read_features(path, data_config(**fields)).array


@pytest.fixture
def array():
    return np.arange(6, dtype=np.float32).reshape(3, 2)


def test_reads_npy_without_loading_it(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    found = read(tmp_path / "a.npy")
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, array)
    np.save(tmp_path / "a.npy", array.astype(np.int16))
    assert read(tmp_path / "a.npy").dtype == np.float32


def test_reads_npz(tmp_path, array):
    path = tmp_path / "a.npz"
    np.savez(path, whatever=array)
    np.testing.assert_array_equal(read(path), array)
    np.savez_compressed(path, other=np.zeros(3), features=array)
    np.testing.assert_array_equal(read(path), array)


@pytest.mark.parametrize(
    "name, content",
    [
        ("missing.npy", None),
        ("empty.npy", b""),
        ("empty.npz", b""),
        ("empty.csv", b""),
        ("header_only.csv", b"x,y\n"),
        ("words.csv", b"x,y\n1,2\n3,four\n"),
        ("ragged.csv", b"1,2\n3\n"),
        ("binary.csv", bytes(range(128, 256))),
        ("text.npy", b"not an array"),
        ("text.npz", b"not an array"),
        ("flat.npy", np.zeros(3)),
        ("no_rows.npy", np.zeros((0, 4))),
        ("no_rows.npz", np.zeros((0, 4))),
        ("cube.npz", np.zeros((2, 2, 2))),
        ("pickled.npy", np.array([[{}, 1]], object)),
        ("pickled.npz", np.array([[{}, 1]], object)),
        ("words.npy", np.array([["a", "b"]])),
        ("complex.npy", np.zeros((2, 2), complex)),
        ("other.mat", b"1"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        (np.save if name.endswith("npy") else np.savez)(path, content)
    with pytest.raises(DataError, match=name) as error:
        read(path)
    assert "\n" not in str(error.value) and "Error" not in str(error.value)


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.97])
def test_a_truncated_file_is_one_sentence(tmp_path, name, kept):
    path = tmp_path / name
    (np.save if name == "a.npy" else np.savez_compressed)(path, np.random.default_rng(0).normal(size=(200, 8)))
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(DataError, match=name):
        read(path)


def test_a_damaged_npz_is_one_sentence(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, np.random.default_rng(0).normal(size=(200, 8)))
    content = bytearray(path.read_bytes())
    content[2000:2100] = bytes(100)
    path.write_bytes(content)
    with pytest.raises(DataError, match="a.npz"):
        read(path)


def test_two_arrays_without_name(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((1, 1)), y=np.zeros((1, 1)))
    with pytest.raises(DataError, match="2 arrays and none is named 'features'"):
        read(tmp_path / "a.npz")
