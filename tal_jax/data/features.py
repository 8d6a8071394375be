"""Feature files (or raw sensor signals) and the `Dataset` that every system trains on."""

import dataclasses
import functools
import logging
import pathlib
import zipfile
import zlib
from collections.abc import Callable

import ml_collections
import numpy as np
import pyarrow
import pyarrow.csv

from tal_jax.data.annotations import IGNORED_LABELS, Annotations
from tal_jax.data.made_of_videos import as_extracted
from tal_jax.data.streams import common_length
from tal_jax.errors import DataError

log = logging.getLogger(__name__)

SUFFIXES = (".npy", ".npz", ".csv")
KEPT_RECORDINGS = 256
NUM_BANDS = 6
STREAMS = ("rgb", "flow")
MIN_POWER = 1e-5  # of a channel that stands still


@dataclasses.dataclass(frozen=True)
class Timeline:
    """Maps the feature axis of one recording to seconds.

    The axis is continuous: feature i is the cell [i, i+1). It was computed from the `snippet_frames` frames that begin at
    frame i*stride_frames, and its centre i+0.5 is the time of the snippet's centre.

    Attributes:
        fps: frames (samples) of the recording in one second.
        stride_frames: frames from one feature to the next.
        snippet_frames: frames that one feature has seen.
    """

    fps: float
    stride_frames: float
    snippet_frames: float

    def to_seconds(self, cells):
        """Seconds of positions on the feature axis, any shape."""
        return ((np.asarray(cells, np.float64) - 0.5) * self.stride_frames + self.snippet_frames / 2) / self.fps

    def to_cells(self, seconds):
        """Positions on the feature axis of times in seconds, any shape."""
        return (np.asarray(seconds, np.float64) * self.fps - self.snippet_frames / 2) / self.stride_frames + 0.5

    def folded(self, samples_per_frame):
        """The Timeline of frames of so many features each, see `fold_samples`."""
        snippet_frames = self.snippet_frames + (samples_per_frame - 1) * self.stride_frames
        return Timeline(self.fps, samples_per_frame * self.stride_frames, snippet_frames)

    def seen_sec(self, num_features):
        """Seconds from the first frame that the first feature has seen to the last frame that the last one has."""
        return ((num_features - 1) * self.stride_frames + self.snippet_frames) / self.fps


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Recordings, their annotations and their features.

    Attributes:
        annotations: the recordings of the training and test subsets whose features are there.
        read: recording name -> (T, C) float array, or frames (T, H, W, C) uint8, perhaps a read-only memory map; not to be changed, for the last
            `KEPT_RECORDINGS` are kept. Raises DataError for a bad file.
        timeline: recording name -> Timeline of its T features. Raises DataError for one without a frame rate.
        missing: names of the recordings whose features are not there (only under `allow_missing`).
        proposals: recording name -> proposals.Proposals, for systems that start from these; else None.
        seen_sec: recording name -> seconds that its file lasts, with the samples that folding drops and the row that the
            longer of two streams has more; None: those of its T features.
        recording_scores: for these systems, recording name -> (K,) class scores of `config.evaluate.recording_scores`; else None.
    """

    annotations: Annotations
    read: Callable[[str], np.ndarray]
    timeline: Callable[[str], Timeline]
    missing: tuple[str, ...] = ()
    proposals: dict | None = None
    recording_scores: dict | None = None
    seen_sec: Callable[[str], float] | None = None

    def duration_sec(self, name):
        """Length of a recording in seconds: as annotated, or else what its features have seen (which reads them)."""
        annotated = self.annotations.recordings[name].duration_sec
        if annotated:
            return annotated
        return float(self.seen_sec(name) if self.seen_sec else self.timeline(name).seen_sec(len(self.read(name))))


def data_config(**fields):
    """The section `config.data`: these fields, or their values in `fields`."""
    data = ml_collections.ConfigDict()
    data.name = "folder"  # a data set of data.DATASETS; "folder": none of the built-in ones, the next two say all
    data.input = "features"  # vectors or sensor signals; of frames (frames.data_config): 'rgb' or 'flow'
    data.annotations = ""  # annotation file (schema: annotations.py); "": the data set's own
    data.ignored_labels = IGNORED_LABELS  # labels that are no classes
    data.features = ""  # folder with one NAME.npy, .npz or .csv a recording; "": the data set's own
    data.file_prefix = ""  # what the names of files may begin with before the recording's name
    data.fps = 0.0  # frames (samples) a second of recordings whose annotation has no "fps"; 0: spread over the duration
    data.stride_frames = 1  # from one feature to the next; 0: the features of a recording are spread evenly over its frames
    data.snippet_frames = 1  # that one feature has seen
    data.samples_per_frame = 1  # so many consecutive features are folded into one
    data.statistics_samples = 0  # a frame is the `sample_statistics` of so many samples around it instead
    data.standardised = False  # True: each channel of a recording gets mean 0 and deviation 1
    data.num_channels = 0  # in the files, before folding; 0: as many as the first recording has
    data.stream = ""  # 'rgb', 'flow': the first, the second half of the channels, of files that hold both; "": all of them
    data.train_subset = "train"  # as the annotation file calls it
    data.test_subset = "test"
    data.clips_subset = ""  # of trimmed clips, for a system that learns from them; "": the training subset's actions
    data.class_agnostic = False  # True: all actions are of one class, "action"
    data.allow_missing = False  # False: recordings without features are an error; True: see evaluate.missing
    data.left_out = ()  # recordings that are used for nothing, whether their features are there or not
    data.update(fields)
    return data


def folder_dataset(annotations, folder, data, hint=""):
    """Dataset of a folder that holds one feature file, NAME.npy, .npz or .csv, for each recording.

    Args:
        annotations: Annotations.
        folder: the folder.
        data: the fields of `config.data` (see `data_config`).
        hint: sentences added to the error where features are missing: how to get them.

    Returns:
        Dataset.

    Raises:
        DataError: features are missing (unless `data.allow_missing`).
    """
    prefix = data.file_prefix
    paths = {name: find_features(folder, name) or find_features(folder, prefix + name) for name in annotations.recordings}
    annotations, data = as_extracted(annotations, paths, data)
    there = {name for name, path in paths.items() if path}
    place = f"in {folder}" if pathlib.Path(folder).is_dir() else f"in {folder}, a folder that does not exist"
    uncut = lambda name: longer_stream(paths[name])
    return build_dataset(annotations, lambda name: read_features(paths[name]), there, data, place, hint, uncut)


def build_dataset(annotations, read_raw, available, data, place, hint="", uncut_length=lambda name: 0):
    """Dataset of a function that reads the raw (T, C) array of a recording; folds samples and checks channels on reading.

    Args:
        annotations: Annotations.
        read_raw: recording name -> (T, C) float array.
        available: names that `read_raw` knows.
        data: the fields of `config.data`.
        place: where the features are looked for, for messages: "in FOLDER".
        hint: see `folder_dataset`.
        uncut_length: recording name -> rows of the longer of two streams that `read_raw` cuts to one length, see `longer_stream`.

    Returns, Raises: as `folder_dataset`.
    """
    if data.stream and data.stream not in STREAMS:
        raise DataError(f"config.data.stream is '{data.stream}'; it must be one of {', '.join(STREAMS)}, or empty.")
    subsets = tuple(filter(None, (data.train_subset, data.test_subset, data.clips_subset)))
    wanted = {
        name: recording
        for name, recording in annotations.recordings.items()
        if recording.subset in subsets and name not in data.left_out
    }
    missing = tuple(name for name in wanted if name not in available)
    if missing:
        what = "feature file" if data.input == "features" else "frames"
        count = f"{len(missing)} of {len(wanted)} recordings have no {what} {place} (the first is '{missing[0]}')"
        if not data.allow_missing or len(missing) == len(wanted):
            rest = "" if len(missing) == len(wanted) else " Set config.data.allow_missing=True to go on with the others."
            raise DataError(f"{count}.{hint and ' ' + hint}{rest}")
        log.warning("%s; they are not used.", count)
    recordings = {name: recording for name, recording in wanted.items() if name not in missing}
    if not recordings:
        fields = {name: data[name] for name in ("train_subset", "test_subset", "clips_subset") if data[name]}
        asked = ", ".join(f"config.data.{name} ('{subset}')" for name, subset in fields.items())
        raise DataError(f"No recording has a subset of {asked}; the annotations have {annotations.subset_names()}.")

    num_channels, expected_by = data.num_channels, "config.data.num_channels is"

    @functools.lru_cache(KEPT_RECORDINGS)
    def read(name):
        nonlocal num_channels, expected_by
        signal = read_raw(name)
        if not num_channels:  # all have as many as the first that is read
            num_channels, expected_by = signal.shape[-1], f"recording '{name}' has"
        if signal.shape[-1] != num_channels:
            raise DataError(f"Recording '{name}' {place} has {signal.shape[-1]} channels, but {expected_by} {num_channels}.")
        if data.stream:
            signal = np.array_split(signal, 2, axis=-1)[STREAMS.index(data.stream)]
        if len(signal) < data.samples_per_frame:
            raise DataError(
                f"Recording '{name}' {place} has {len(signal)} samples, fewer than the {data.samples_per_frame} of one frame "
                "(config.data.samples_per_frame)."
            )
        if data.statistics_samples:
            signal = sample_statistics(signal, data.samples_per_frame, data.statistics_samples)
        elif data.samples_per_frame > 1:
            signal = fold_samples(signal, data.samples_per_frame)
        return standardise(signal) if data.standardised else signal

    def num_features(name):
        unfolded = read if data.samples_per_frame == 1 else read_raw  # `read` keeps what it has read
        return max(len(unfolded(name)), uncut_length(name))

    @functools.cache
    def unfolded_timeline(name):
        return make_timeline(recordings[name], data, num_features)

    def timeline(name):
        return unfolded_timeline(name).folded(data.samples_per_frame)

    def seen_sec(name):
        return unfolded_timeline(name).seen_sec(num_features(name))

    return Dataset(Annotations(annotations.classes, recordings), read, timeline, missing, seen_sec=seen_sec)


def make_timeline(recording, data, num_features):
    """Timeline of a recording's features before folding.

    Its own frame rate goes before that of `config.data`. With neither, its features are spread evenly over its duration; with
    `config.data.stride_frames` = 0 over its frames.

    Args:
        recording: Recording.
        data: the fields of `config.data`.
        num_features: recording name -> how many features it has before folding, and before the longer of two streams is cut: a
            row that is cut off leaves the others where they are. Called only where features are spread.
    """
    stride, snippet = data.stride_frames, data.snippet_frames
    fps = recording.fps or data.fps
    if fps and not stride:
        num_frames = recording.num_frames or round(fps * (recording.duration_sec or 0))
        if not num_frames:
            raise DataError(
                f"Recording '{recording.name}' has neither 'num_frames' nor 'duration', over which its features could be spread "
                "(config.data.stride_frames is 0); annotate one of them."
            )
        stride = snippet = num_frames / num_features(recording.name)
    if not fps:
        if not recording.duration_sec:
            raise DataError(
                f"Recording '{recording.name}' has neither 'fps' nor 'duration'; annotate one of them or set config.data.fps."
            )
        fps, stride, snippet = num_features(recording.name) / recording.duration_sec, 1, 1
    return Timeline(fps, stride, snippet)


def fold_samples(signal, samples_per_frame):
    """Makes r consecutive samples one frame: (T, C) -> (T//r, r*C), the samples of a frame in time order.

    The T % r samples at the end are dropped. A view where NumPy can make one.
    """
    num_frames = len(signal) // samples_per_frame
    return signal[: num_frames * samples_per_frame].reshape(num_frames, samples_per_frame * signal.shape[1])


def sample_statistics(signal, samples_per_frame, span):
    """Describes the samples around each frame by hand-made features, which unlike samples can be averaged over time.

    Args:
        signal: (T, C) sensor samples.
        samples_per_frame: r, samples from one frame to the next.
        span: samples described, around the middle of the frame; at the ends of the signal its first and last sample are repeated.

    Returns:
        (T//r, C * (2 + bands)) float32: for each channel the mean, and log10(1 + power / MIN_POWER) of the variance and of bands of
        frequency that get wider and wider, `NUM_BANDS` of them or as many as the span can tell apart.
    """
    num_frames = len(signal) // samples_per_frame
    before = max((span - samples_per_frame) // 2, 0)
    padded = np.pad(np.asarray(signal, np.float32), ((before, span), (0, 0)), mode="edge")
    spans = np.lib.stride_tricks.sliding_window_view(padded, span, axis=0)[: num_frames * samples_per_frame : samples_per_frame]
    mean = spans.mean(axis=-1)  # (T, C)
    power = np.square(np.abs(np.fft.rfft(spans - mean[..., None], axis=-1)[..., 1:])) / span**2
    edges = np.unique(np.round(np.geomspace(1, power.shape[-1] + 1, NUM_BANDS + 1)).astype(int)) - 1
    bands = np.add.reduceat(power, edges[:-1], axis=-1)  # (T, C, bands)
    rest = np.log10(1 + np.concatenate([power.sum(axis=-1, keepdims=True), bands], axis=-1) / MIN_POWER)
    return np.concatenate([mean[..., None], rest], axis=-1).reshape(num_frames, -1).astype(np.float32)


def standardise(features):
    """Each channel with mean 0 and deviation 1 over the recording; one that does not vary (by 1e-6) is 0.

    NaN and infinite values do not count and stay where they are.

    What is the same all over a recording is lost: a short one of a single activity looks unlike a long one that holds it too.

    (T, C) -> (T, C) float32.
    """
    finite = np.isfinite(features)
    centred = features - np.mean(features, axis=0, dtype=np.float64, where=finite)
    deviation = np.std(centred, axis=0, where=finite)
    return (centred / np.where(deviation > 1e-6, deviation, np.inf)).astype(np.float32)


def find_features(folder, name):
    """Path of the feature file of a recording in the folder, None if there is none. .npy goes before .npz before .csv.

    The folder may also be laid out as published for weakly supervised systems: below it, or below its folders "train" and "test", one
    file a recording, or rgb/NAME.npy and flow/NAME.npy, of which the first is returned.
    """
    for place in ("", "train", "test"):
        below = pathlib.Path(folder) / place
        for path in (*(below / f"{name}{suffix}" for suffix in SUFFIXES), below / "rgb" / f"{name}.npy"):
            if path.is_file():
                return path
    return None


def read_features(path):
    """Reads one feature file.

    * .npy: the array itself, memory-mapped;
    * .npy in a folder rgb, with one of the same name in a folder flow beside it: both side by side, RGB first;
    * .npz: its only array, or the one named "features"; or as ECM's files are: "feat_spa" and "feat_tem", (C, T) each;
      two streams are cut to the shorter, see `streams.common_length`;
    * .csv: one row a sample, one column a channel, separated by commas; a first row without any number is skipped.

    Returns:
        (T, C) float array, T and C at least 1; whole numbers become float32. A .npy of floats is a read-only memory map.

    Raises:
        DataError: the file is missing, damaged, pickled, not numeric or not (T, C), or its two streams are not of one length.
    """
    path = pathlib.Path(path)
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": _read_csv}
    if path.suffix not in readers:
        raise DataError(f"Feature file {path} has the suffix '{path.suffix}'; use one of {', '.join(SUFFIXES)}.")
    try:
        streams = _two_streams(path)
        array = _side_by_side(path, streams) if streams else readers[path.suffix](path)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, pyarrow.ArrowInvalid) as error:
        raise DataError(f"Cannot read the feature file {path}: {str(error).rstrip('.') or 'it is empty'}.") from error
    if array.ndim != 2 or not array.size:
        raise DataError(f"Feature file {path} holds an array of shape {array.shape}; it must be (T, C), neither of them 0.")
    if array.dtype.kind not in "fiu":
        raise DataError(f"Feature file {path} holds values of type {array.dtype}; they must be real numbers.")
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def longer_stream(path):
    """Rows of the longer of the two streams that a file which `read_features` can read stands for; 0 of a file of one array."""
    return max(map(len, _two_streams(pathlib.Path(path))), default=0)


def _two_streams(path):
    """[RGB (T, C), flow (T', C)] of a path that stands for two streams, or else an empty list."""
    if path.suffix == ".npz":
        if not zipfile.is_zipfile(path):
            raise ValueError("it is not a zip archive, or it is cut off")
        with np.load(path, allow_pickle=False) as arrays:
            names = ("feat_spa", "feat_tem")
            return [arrays[name].T for name in names] if {*names} <= set(arrays.files) else []
    flow = path.parent.parent / "flow" / path.name
    if path.suffix == ".npy" and path.parent.name == "rgb" and flow.is_file():
        return [np.lib.format.open_memmap(file, mode="r") for file in (path, flow)]
    return []


def _side_by_side(path, streams):
    """Features of two streams, (T, C) and (T', C), cut to the shorter and joined: (T, 2C)."""
    if any(stream.ndim != 2 for stream in streams):
        raise ValueError(f"its two streams have {streams[0].shape} and {streams[1].shape} features; both must be (T, C)")
    length = common_length([len(stream) for stream in streams], path.stem, path.parent)
    return np.concatenate([stream[:length] for stream in streams], axis=1)


def _read_npy(path):
    return np.lib.format.open_memmap(path, mode="r")


def _read_npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays.files
        if len(names) != 1 and "features" not in names:
            raise ValueError(f"it holds {len(names)} arrays and none is named 'features'")
        return arrays["features" if "features" in names else names[0]]


def _read_csv(path):
    with open(path, encoding="utf-8-sig") as lines:
        has_header = not any(_is_number(cell) for cell in lines.readline().split(","))
    options = pyarrow.csv.ReadOptions(autogenerate_column_names=True, skip_rows=int(has_header))
    table = pyarrow.csv.read_csv(path, read_options=options)
    columns = [column.to_numpy() for column in table.columns]
    for number, column in enumerate(columns, 1):
        if column.dtype.kind not in "fiu":
            raise ValueError(f"column {number} holds values that are not numbers")
    return np.stack(columns, axis=1).astype(np.float32)


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True
