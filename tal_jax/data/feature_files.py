"""Files of features and of sensor signals, one a recording, in all the forms that are read."""

import contextlib
import dataclasses
import importlib
import logging
import pathlib
import zipfile

import numpy as np

from tal_jax.data.csv_files import open_csv
from tal_jax.data.streams import common_length, cut_note
from tal_jax.data.table_columns import is_time_name
from tal_jax.data.tables import FeatureFile, first_time_of, open_columnar, signal_of
from tal_jax.errors import DataError
from tal_jax.runtime.files import ARRAY_HEADERS, list_files

log = logging.getLogger(__name__)

ECM_STREAMS = ("feat_spa", "feat_tem")  # (C, T) each
# Of the array that is read, or of its two streams; "feats" in the files of EPIC-Kitchens, beside scores.
NAMES = (("features",), ("feats",), ECM_STREAMS, ("rgb", "flow"))


def read_features(path, data):
    """Reads the feature file of a recording.

    * .npy: the array itself, memory-mapped;
    * .npy in a folder rgb that has a folder flow beside it: both files of this name side by side, RGB first;
    * .npz, .h5, .hdf5: the array named "features" or "feats", or the only one of two or more axes; "rgb" and
      "flow", (T, C) each, or as in ECM's files "feat_spa" and "feat_tem", (C, T) each;
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
    if path.suffix.lower() not in READERS:
        suffixes = ", ".join(SUFFIXES)
        raise DataError(f"Feature file {path} has the suffix '{path.suffix}'; use one of {suffixes}.")
    paths, flow = [path], path.parent.parent / "flow" / path.name
    is_stream = path.parent.name == "rgb" and path.suffix.lower() == ".npy"
    if is_stream and flow.parent.is_dir():
        if not flow.is_file():
            how = f"make it, or remove the folder {flow.parent}"
            raise DataError(f"{flow} is missing, the flow of {path}; {how}.")
        paths.append(flow)
    files = [file for part in paths for file in _streams_of(part, data)]
    arrays = [file.array for file in files]
    widths = tuple(array.shape[1] for array in arrays) if is_stream or len(arrays) == 2 else ()
    if len(arrays) == 1:
        return dataclasses.replace(files[0], widths=widths)
    lengths = [len(array) for array in arrays]
    length = common_length(lengths, path.stem, path.parent if is_stream else path)
    notes = {"streams": cut_note(lengths)} if lengths[0] != lengths[1] else {}
    joined = np.concatenate([array[:length] for array in arrays], axis=1)
    return FeatureFile(joined, max(lengths), widths, notes=notes)


def first_time(path, data):
    """(text, unit) of the first time stamp in a table, see `tables.first_time_of`; None for one without.

    Raises DataError for a table that cannot be read.
    """
    with _named(path):
        return first_time_of(TABLES[path.suffix.lower()](path, data), data)


def number_columns(path, data):
    """The Columns of a table that hold numbers, but for time stamps. Raises DataError, see `first_time`."""
    with _named(path):
        columns = TABLES[path.suffix.lower()](path, data).columns
    return [column for column in columns if column.kind == "number" and not is_time_name(column.name)]


def _streams_of(path, data):
    """[FeatureFile] of one file, or two of the streams that it names. Raises DataError."""
    with _named(path):
        found = READERS[path.suffix.lower()](path, data)
    files = [found] if isinstance(found, FeatureFile) else [FeatureFile(array) for array in found]
    return [dataclasses.replace(file, array=_as_rows(file.array, path)) for file in files]


@contextlib.contextmanager
def _named(path):
    """Whatever a reader of the file raises becomes one sentence that names it, a DataError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # the libraries that read damaged files raise almost anything
        text = " ".join(str(error).split())[:400].rstrip(".") or "it is damaged"
        text = "there is no such file" if isinstance(error, FileNotFoundError) else text
        raise DataError(f"Cannot read the feature file {path}: {text}.") from error


def _as_rows(array, path):
    """An array as (T, C) floats. Raises DataError, which names the file, for one that is not."""
    if array.dtype.kind not in "fiu":
        raise DataError(f"Feature file {path} holds values of type {array.dtype}; they must be real numbers.")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or not array.size:
        found = f"an array of shape {array.shape}"
        raise DataError(f"Feature file {path} holds {found}; it must be (T, C), neither of them 0.")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def _read_npy(path, data):
    """[array], mapped into memory, not read."""
    with path.open("rb") as file:
        begin = file.read(len(np.lib.format.MAGIC_PREFIX))
    if begin != np.lib.format.MAGIC_PREFIX:
        raise ValueError("it is no .npy file of NumPy" if begin else "it is empty")
    try:
        with ARRAY_HEADERS:
            return [np.lib.format.open_memmap(path, mode="r")]
    except (ValueError, OSError) as error:
        cut_off = "mmap length" in str(error) or "EOF" in str(error)
        raise ValueError("it is cut off; copy it again") from error if cut_off else error


def _read_npz(path, data):
    """[array], or two streams, of a .npz file."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is not a zip archive, or it is cut off")
        with ARRAY_HEADERS:
            return _chosen(np.load(file, allow_pickle=False))


def _read_hdf5(path, data):
    """[array], or two streams, of an HDF5 file."""
    h5py = _extra("h5py", path, "hdf5")
    with h5py.File(path, "r") as file:
        found = {}  # links to other files are not followed
        file.visititems(lambda name, item: found.update({name: item}))
        found = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
        if any(item.external or item.is_virtual for item in found.values()):
            raise ValueError("it takes values from other files; write them into this one")
        numeric = {name: item for name, item in found.items() if item.dtype.kind in "fiu"}
        if not numeric:
            raise ValueError("it holds no array of numbers")
        return _chosen(numeric)


def _chosen(arrays):
    """[array] that is read of the arrays in a file, or the arrays of its two streams.

    Args:
        arrays: mapping of names to arrays or HDF5 data sets.

    Raises:
        ValueError: it is not clear which one.
    """
    names = next((names for names in NAMES if {*names} <= {*arrays}), None)
    found = [arrays[name] for name in names or arrays]
    if not names and len(found) != 1:
        found = [array for array in found if getattr(array, "ndim", 2) >= 2]
        if len(found) != 1:
            what = f"{len(arrays)} arrays and none is named 'features'"
            raise ValueError(f"it holds {what}; keep one of two axes, (T, C), or name it so")
    found = [np.asarray(array) for array in found]
    return [array.T for array in found] if names == ECM_STREAMS else found


def _read_wav(path, data):
    """FeatureFile of a sound file."""
    soundfile = _extra("soundfile", path, "sound")
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return FeatureFile(samples, rate=float(rate))


def _read_table(path, data):
    """FeatureFile of a table."""
    return signal_of(TABLES[path.suffix.lower()](path, data), data)


def _extra(package, path, extra):
    """A package that only some files need. Raises DataError that says how to install it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        install = f"install it: pip install 'tal-jax[{extra}]'"
        raise DataError(f"{path} is read with {package}; {install}.") from error


TABLES = {".csv": open_csv, ".parquet": open_columnar, ".feather": open_columnar}  # -> tables.Table
READERS = {  # (path, fields of config.data) -> FeatureFile, or the array or the two streams in it as a list
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".csv": _read_table,
    ".parquet": _read_table,
    ".feather": _read_table,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".wav": _read_wav,
}
SUFFIXES = tuple(READERS)


def find_features(folder):
    """The feature files of a folder: dict name of a recording -> path.

    Of several files of one name the first of `SUFFIXES` is taken. The folder may also be laid out as
    published for weakly supervised systems: below it, or below its folders "train" and "test", one file a
    recording, or rgb/NAME.npy and flow/NAME.npy, of which the first is taken. A folder or
    a broken link with such a name is left out with a warning.
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
