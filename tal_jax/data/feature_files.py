"""Files of features and of sensor signals, one a recording, in all the forms that are read."""

import dataclasses
import logging
import pathlib
import zipfile

import numpy as np

from tal_jax.data.csv_files import read_csv
from tal_jax.data.streams import common_length, cut_note
from tal_jax.data.tables import FeatureFile, read_table
from tal_jax.errors import DataError
from tal_jax.runtime.files import list_files

log = logging.getLogger(__name__)

NAMED_STREAMS = (("feat_spa", "feat_tem"), ("rgb", "flow"))  # of ECM's files, which are (C, T); and (T, C)


def read_features(path, data):
    """Reads the feature file of a recording.

    * .npy: the array itself, memory-mapped;
    * .npy in a folder rgb that has a folder flow beside it: both files of this name side by side, RGB first;
    * .npz, .h5, .hdf5: the array named "features", or the only one of two or more axes; "rgb" and "flow", (T,
      C) each, or as in ECM's files "feat_spa" and "feat_tem", (C, T) each;
    * .csv, .parquet, .feather: one row a sample, one column a channel, perhaps time stamps
      (`tables.signal_of`);
    * .wav: samples from -1 to 1, a column a channel, and their rate.

    Two streams are cut to the shorter, see `streams.common_length`. An array (1, T, C) is read as (T, C).

    Args:
        path: of the file.
        data: the fields of `config.data`: `csv_columns`, `csv_skip_lines`, `csv_time_column` say how tables
            are read.

    Returns:
        FeatureFile. Whole numbers become float32. A .npy of floats is a read-only memory map.

    Raises:
        DataError: the file is missing, damaged, pickled, not numeric or not (T, C), or its two streams are
            not of one length.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if suffix not in READERS:
        raise DataError(
            f"Feature file {path} has the suffix '{path.suffix}'; use one of {', '.join(SUFFIXES)}."
        )
    flow = _flow_beside(path)
    if flow:
        streams = [as_rows(_opened(file, _read_npy, data), file) for file in (path, flow)]
        return _side_by_side(path, streams, path.parent)
    found = _opened(path, READERS[suffix], data)
    if isinstance(found, list):
        return _side_by_side(path, [as_rows(array, path) for array in found], path)
    if not isinstance(found, FeatureFile):
        found = FeatureFile(found)
    if suffix == ".npy" and path.parent.name == "rgb":
        found = dataclasses.replace(found, widths=(found.array.shape[-1],) if found.array.ndim else ())
    return dataclasses.replace(found, array=as_rows(found.array, path))


def _opened(path, reader, data):
    """What a reader gives of a file. Whatever it raises becomes one sentence that names the file."""
    try:
        return reader(path, data)
    except DataError:
        raise
    except Exception as error:  # the libraries that read damaged files raise almost anything
        text = (
            "there is no such file" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())
        )
        raise DataError(
            f"Cannot read the feature file {path}: {text[:400].rstrip('.') or 'it is damaged'}."
        ) from error


def as_rows(array, path):
    """An array as (T, C) floats. Raises DataError, which names the file, for one that is not."""
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"Feature file {path} holds no array, or one that is no .npy inside; write it with numpy.savez."
        )
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or not array.size:
        raise DataError(
            f"Feature file {path} holds an array of shape {array.shape}; it must be (T, C), neither of them "
            f"0."
        )
    if array.dtype.kind not in "fiu":
        raise DataError(f"Feature file {path} holds values of type {array.dtype}; they must be real numbers.")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _side_by_side(path, streams, place):
    """FeatureFile of two streams, (T, C) and (T', C'), cut to the shorter and joined: (T, C + C')."""
    lengths = [len(stream) for stream in streams]
    length = common_length(lengths, path.stem, place)
    notes = {"streams": cut_note(lengths)} if lengths[0] != lengths[1] else {}
    widths = tuple(stream.shape[1] for stream in streams)
    return FeatureFile(
        np.concatenate([stream[:length] for stream in streams], axis=1), max(lengths), widths, notes=notes
    )


def _flow_beside(path):
    """The flow file that belongs to rgb/NAME.npy, None for another path. Raises DataError where it is
    missing.
    """
    folder = path.parent.parent / "flow"
    if path.suffix.lower() != ".npy" or path.parent.name != "rgb" or not folder.is_dir():
        return None
    if not (folder / path.name).is_file():
        raise DataError(
            f"{folder / path.name} is missing, the flow of {path}; make it, or remove the folder {folder}."
        )
    return folder / path.name


def _read_npy(path, data):
    return np.lib.format.open_memmap(path, mode="r")


def _read_npz(path, data):
    if not zipfile.is_zipfile(path):
        path.stat()
        raise ValueError("it is not a zip archive, or it is cut off")
    with np.load(path, allow_pickle=False) as arrays:
        return _array_among({name: None for name in arrays.files}, lambda name: arrays[name])


def _array_among(names, read):
    """The array of a file of several, or the list of its two streams, (T, C) each.

    Args:
        names: name -> number of axes of the array, None where it must be read to be known.
        read: name -> array.

    Raises:
        ValueError: there is none, or it is not clear which one.
    """
    if "features" in names:
        return read("features")
    for pair in NAMED_STREAMS:
        if {*pair} <= {*names}:
            arrays = [read(name) for name in pair]
            return [array.T for array in arrays] if pair[0] == "feat_spa" else arrays
    if len(names) == 1:
        return read(*names)
    arrays = {name: read(name) for name, axes in names.items() if axes is None or axes >= 2}
    arrays = [array for array in arrays.values() if not isinstance(array, np.ndarray) or array.ndim >= 2]
    if len(arrays) == 1:
        return arrays[0]
    raise ValueError(
        f"it holds {len(names)} arrays and none is named 'features'; keep one of two axes, (T, C), "
        "or name it so"
    )


def _read_hdf5(path, data):
    h5py = _extra("h5py", path, "hdf5")
    with h5py.File(path, "r") as file:
        found = {}

        def keep(name, item):  # links to other files are not followed
            if isinstance(item, h5py.Dataset):
                found[name] = item

        file.visititems(keep)
        if any(item.external or item.is_virtual for item in found.values()):
            raise ValueError("it takes values from other files; write them into this one")
        numeric = {name: item.ndim for name, item in found.items() if item.dtype.kind in "fiu"}
        if not numeric:
            raise ValueError("it holds no array of numbers")
        return _array_among(numeric, lambda name: np.asarray(found[name]))


def _read_wav(path, data):
    soundfile = _extra("soundfile", path, "sound")
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return FeatureFile(samples, rate=float(rate))


def _extra(package, path, extra):
    """A package that only some files need. Raises DataError that says how to install it."""
    try:
        return __import__(package)
    except ImportError as error:
        raise DataError(
            f"{path} is read with {package}; install it: pip install 'tal-jax[{extra}]'."
        ) from error


READERS = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": read_csv,
    ".parquet": read_table,
    ".feather": read_table,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".wav": _read_wav,
}
SUFFIXES = tuple(READERS)


def find_features(folder):
    """The feature files of a folder: dict name of a recording -> path.

    Of several files of one name the first of `SUFFIXES` is taken. The folder may also be laid out as
    published for weakly supervised systems: below it, or below its folders "train" and "test", one file a
    recording, or rgb/NAME.npy and flow/NAME.npy, of which the first is taken. What is called like a file but
    is none is told in a warning.
    """
    found = {}
    for part in ("", "train", "test"):
        for place, suffixes in ((".", SUFFIXES), ("rgb", (".npy",))):
            files, left_out = list_files(pathlib.Path(folder) / part / place, suffixes)
            if left_out:
                log.warning("%s", left_out)
            for file in sorted(files, key=lambda file: (suffixes.index(file.suffix.lower()), file.name)):
                found.setdefault(file.stem, file)
    return found
