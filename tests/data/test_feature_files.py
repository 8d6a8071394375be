import concurrent.futures
import sys
import time
import zipfile

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.feature_files import find_features, read_features
from tal_jax.data.features import data_config, folder_dataset
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


def test_one_thread_at_a_time_reads_the_header_of_an_array(tmp_path, array, monkeypatch):
    """Python before 3.11.8 fails at times where two threads parse headers at once."""
    np.save(tmp_path / "it.npy", array)
    reading, most, of_numpy = [], [], np.lib.format.open_memmap

    def slow(*arguments, **settings):
        reading.append(1)
        most.append(len(reading))
        time.sleep(0.01)
        reading.pop()
        return of_numpy(*arguments, **settings)

    monkeypatch.setattr(np.lib.format, "open_memmap", slow)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: read_features(tmp_path / "it.npy", data_config()), range(8)))
    assert max(most) == 1 and len(most) == 8


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
    (np.save if name == "a.npy" else np.savez_compressed)(
        path, np.random.default_rng(0).normal(size=(200, 8))
    )
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


def test_an_array_may_have_one_axis_of_1_before_it(tmp_path, array):
    np.save(tmp_path / "a.npy", array[None])
    np.savez(tmp_path / "b.npz", array[None])
    for name in ("a.npy", "b.npz"):
        np.testing.assert_array_equal(read(tmp_path / name), array)
    assert isinstance(read(tmp_path / "a.npy"), np.memmap)


def test_one_array_among_scalars_and_labels(tmp_path, array):
    np.savez(tmp_path / "a.npz", fps=25.0, name="a", labels=np.zeros(3), x=array)
    np.testing.assert_array_equal(read(tmp_path / "a.npz"), array)


def test_streams_that_a_file_names(tmp_path, array):
    np.savez(tmp_path / "a.npz", rgb=array, flow=array[:, :1] + 10, fps=25.0)
    found = read_features(tmp_path / "a.npz", data_config())
    np.testing.assert_array_equal(found.array, np.concatenate([array, array[:, :1] + 10], axis=1))
    assert found.widths == (2, 1)
    annotations = Annotations(
        ("x",), {"a": Recording("a", "train", 3.0, np.zeros((0, 2)), np.zeros(0, np.int32))}
    )
    for stream, expected in (("rgb", array), ("flow", array[:, :1] + 10)):
        dataset = folder_dataset(annotations, tmp_path, data_config(stream=stream))
        np.testing.assert_array_equal(dataset.read("a"), expected)  # not two halves of 3 channels
    np.save(tmp_path / "a.npy", np.ones((3, 5)))
    with pytest.raises(
        DataError, match="5 channels, which are no two halves of one width; config.data.stream is 'flow'"
    ):
        folder_dataset(annotations, tmp_path, data_config(stream="flow")).read("a")
    (tmp_path / "a.npy").unlink(), (tmp_path / "a.npz").unlink(), (tmp_path / "rgb").mkdir()
    np.save(tmp_path / "rgb" / "a.npy", np.ones((3, 4)))
    with pytest.raises(
        DataError, match="'a' in .* holds the stream rgb alone; leave config.data.stream empty, it is 'rgb'"
    ):
        folder_dataset(annotations, tmp_path, data_config(stream="rgb")).read("a")


def test_a_bad_or_missing_flow_file_is_named(tmp_path, array):
    for stream in ("rgb", "flow"):
        (tmp_path / stream).mkdir()
        np.save(tmp_path / stream / "a.npy", array)
    (tmp_path / "flow" / "a.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=f"Cannot read the feature file {tmp_path}/flow/a.npy"):
        read(tmp_path / "rgb" / "a.npy")
    (tmp_path / "flow" / "a.npy").unlink()
    with pytest.raises(
        DataError, match=f"{tmp_path}/flow/a.npy is missing, the flow of {tmp_path}/rgb/a.npy"
    ):
        read(tmp_path / "rgb" / "a.npy")


def header(text):
    """The bytes of a .npy file with this header and eight values."""
    text = text.ljust(118 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode("latin-1") + bytes(64)


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4, 2)",  # TokenError
        "{'descr': 3, 'fortran_order': False, 'shape': (4, 2), }",  # TypeError
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4, -2), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4000000000, 4000000000), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (4, 2), }",
        "{'descr': '<f8', 'shape': (" + "9" * 80 + ", 2), }",
        "\xff" * 50,
    ],
)
def test_a_damaged_npy_header_is_one_sentence(tmp_path, text):
    (tmp_path / "a.npy").write_bytes(header(text))
    with pytest.raises(DataError, match="a.npy") as error:
        read(tmp_path / "a.npy")
    assert "\n" not in str(error.value)


def test_any_damage_of_an_npz_is_a_sentence_or_an_array(tmp_path, array):
    np.savez_compressed(tmp_path / "good.npz", x=np.arange(60.0).reshape(30, 2))
    content, rng = (tmp_path / "good.npz").read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(len(content), size=4):
            damaged[place] = rng.integers(256)
        (tmp_path / "a.npz").write_bytes(damaged)
        try:
            assert read(tmp_path / "a.npz").shape == (30, 2)
        except DataError as error:
            assert "a.npz" in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("damage", ["encrypted", "method", "no npy"])
def test_an_npz_that_numpy_cannot_read(tmp_path, array, damage):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("x.txt" if damage == "no npy" else "x.npy", b"some text")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    central = content.index(b"PK\x01\x02")
    if damage == "encrypted":
        content[6], content[central + 8] = 1, 1
    elif damage == "method":
        content[8], content[central + 10] = 99, 99
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match="a.npz") as error:
        read(tmp_path / "a.npz")
    assert "\n" not in str(error.value)


def test_hdf5(tmp_path, array):
    h5py = pytest.importorskip("h5py")
    for names in (("x",), ("features", "other"), ("group/x",)):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for name in names:
                file[name] = array if name == names[0] else np.zeros((5, 5))
            file["fps"], file["label"] = 25.0, "walk"
        np.testing.assert_array_equal(read(tmp_path / "a.h5"), array)
    with h5py.File(tmp_path / "two.hdf5", "w") as file:
        file["x"], file["y"] = array, array
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["x"] = h5py.ExternalLink("two.hdf5", "x")
    (tmp_path / "bad.h5").write_bytes(b"none")
    for name, sentence in (
        ("two.hdf5", "2 arrays and none is named"),
        ("link.h5", "no array of numbers"),
        ("bad.h5", "bad.h5"),
    ):
        with pytest.raises(DataError, match=sentence):
            read(tmp_path / name)


def test_a_sound_file_says_its_rate(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    wave = np.sin(np.arange(1600) / 10)[:, None] * [0.5, 0.25]
    soundfile.write(tmp_path / "a.wav", wave, 1600)
    annotations = Annotations(
        ("x",), {"a": Recording("a", "train", None, np.zeros((0, 2)), np.zeros(0, np.int32))}
    )
    dataset = folder_dataset(annotations, tmp_path, data_config(samples_per_frame=16))
    assert dataset.read("a").shape == (100, 32) and dataset.duration_sec("a") == pytest.approx(1.0)
    np.testing.assert_allclose(dataset.read("a")[0].reshape(16, 2), wave[:16], atol=1e-4)
    np.testing.assert_allclose(dataset.timeline("a").to_seconds([0, 100]), [0, 1], atol=1e-9)
    with pytest.raises(DataError, match="1600 rows a second as its file says, but 8000"):
        folder_dataset(annotations, tmp_path, data_config(fps=8000.0)).read("a")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="a.wav"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("name, package, extra", [("a.h5", "h5py", "hdf5"), ("a.wav", "soundfile", "sound")])
def test_a_package_that_is_not_installed_is_said(tmp_path, monkeypatch, name, package, extra):
    (tmp_path / name).write_bytes(b"")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        DataError, match=rf"{name} is read with {package}; install it: pip install 'tal-jax\[{extra}\]'"
    ):
        read(tmp_path / name)


def test_the_files_of_a_folder(tmp_path, array):
    for name in (
        "a.npz",
        "a.csv",
        "b.CSV",
        "rgb/c.npy",
        "train/d.h5",
        "test/rgb/e.npy",
        "f.txt",
        "train/a.npy",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"5,2\n3,4\n")
    expected = {"a": "a.npz", "b": "b.CSV", "c": "rgb/c.npy", "d": "train/d.h5", "e": "test/rgb/e.npy"}
    assert find_features(tmp_path) == {name: tmp_path / path for name, path in expected.items()}
    np.testing.assert_array_equal(read(tmp_path / "b.CSV"), [[5, 2], [3, 4]])
    assert find_features(tmp_path / "nowhere") == {}


def test_a_name_longer_than_file_systems_allow_has_no_features(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    recordings = {
        name: Recording(name, "train", 3.0, np.zeros((0, 2)), np.zeros(0, np.int32))
        for name in ("a", "b" * 300, "c\0")
    }
    dataset = folder_dataset(Annotations(("x",), recordings), tmp_path, data_config(allow_missing=True))
    assert dataset.missing == ("b" * 300, "c\0")


def test_an_array_file_that_is_no_array_is_described(tmp_path):
    np.save(tmp_path / "whole.npy", np.zeros((50, 3), np.float32))
    whole = (tmp_path / "whole.npy").read_bytes()
    cases = {
        b"": "it is empty",
        b"time,x": "it is no .npy file of NumPy",
        whole[:300]: "it is cut off; copy it",
    }
    for content, sentence in (cases | {whole[:9]: "it is cut off"}).items():
        (tmp_path / "a.npy").write_bytes(content)
        with pytest.raises(DataError, match=f"Cannot read the feature file .*a.npy: {sentence}"):
            read(tmp_path / "a.npy")
