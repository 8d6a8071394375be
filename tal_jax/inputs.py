"""The Datasets that a trained run detects in: of files, of an array, or of a recording of its data set."""

import dataclasses
import functools
import logging
import pathlib
from typing import NamedTuple

import numpy as np

from tal_jax import shots
from tal_jax.config import is_two_stage
from tal_jax.data import ANNOTATIONS, dataset_annotations, in_classes, load_dataset
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.feature_files import SUFFIXES, FeatureFile, read_features
from tal_jax.data.features import build_dataset
from tal_jax.data.frames import STREAMS, read_frames
from tal_jax.data.made_of_videos import as_extracted, as_stored, read_notes
from tal_jax.data.names import VIDEO_SUFFIXES
from tal_jax.data.timeline import Timeline
from tal_jax.data.video import store_video, stored_files
from tal_jax.data.video_snippets import Film
from tal_jax.errors import DataError
from tal_jax.runtime.files import list_files, temporary_folder

log = logging.getLogger(__name__)

ARRAY = "array"  # the name of an array's recording


class Timing(NamedTuple):
    """The times of an input that the caller gives, before its annotation and the config; None: not given.

    Attributes:
      fps: samples or feature vectors a second, that is, rows of the file.
      duration_sec: length of the recording in seconds.
    """

    fps: float | None = None
    duration_sec: float | None = None


def input_datasets(config, source, classes, timing=Timing()):
    """Finds what `--input` or `TrainedRun.detect` names: recording name -> function that makes its Dataset.

    The Datasets have no proposals. Annotated recordings keep the names, durations and ground truth of their
    annotations.

    Args:
      config: of a run.
      source: a path, the name of a recording of the config's data set, or an array (T, C), whose recording is
        called ARRAY.
      classes: of the run.
      timing: Timing of an array or a file of features.

    Raises:
      DataError: `source` names nothing; the functions raise it for what cannot be read.
    """
    if isinstance(source, np.ndarray):
        return {ARRAY: functools.partial(_array_dataset, config, source, classes, timing)}
    if not source:
        ways = "--input=FILE, --input=FOLDER or --input=NAME of a recording of the data set"
        raise DataError(f"Say what to detect in: {ways}.")
    path = pathlib.Path(source)
    known = known_recordings(config, classes)
    if path.exists():
        files = _input_files(path, config.data.input)
        prefix, stems = config.data.file_prefix, [file.stem for file in files]
        names = [stem if stem in known else stem.removeprefix(prefix) for stem in stems]
        if len({*names}) < len(files):
            raise DataError(f"The folder {path} holds two files for one recording; keep one of them.")
        make = functools.partial(_file_dataset, config, classes=classes, known=known, timing=timing)
        return {name: functools.partial(make, file, name) for name, file in zip(names, files, strict=True)}
    if source not in known:
        kinds = "neither a file, nor a folder, nor a recording of the config's data set"
        raise DataError(f"--input={source} is {kinds}.")
    if any(timing):
        times = f"The times of the recording '{source}' are those of its data set"
        raise DataError(f"{times}; leave out fps and duration_sec.")
    alone = config.copy_and_resolve_references()
    if is_two_stage(alone):
        alone.proposals = ""
    dataset = load_dataset(alone)
    if source not in dataset.annotations.recordings:
        raise DataError(f"The recording '{source}' of the config's data set has no features.")
    recording = in_classes(dataset.annotations, classes).recordings[source]
    dataset = dataclasses.replace(dataset, annotations=Annotations(classes, {source: recording}))
    return {source: lambda: dataset}


def _input_files(path, stream):
    """The file `path`, or the files in the folder `path`; where it has rgb/ and flow/, those in one of these.

    Raises:
      DataError: it is a pipe or a device, or the folder has no file of the kind.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"--input={path} is a pipe or a device; name a file or a folder.")
    suffixes = SUFFIXES if stream == "features" else VIDEO_SUFFIXES
    inside = path / ("flow" if stream == "flow" else "rgb")
    made = [] if stream == "video" else [(inside, SUFFIXES[:1])]
    for folder, wanted in [(path, suffixes), *made]:
        found, left_out = list_files(folder, wanted)
        if left_out:
            log.warning("%s", left_out)
        if found:
            return found
    neither = f", nor does {inside} hold .npy files" if made else ""
    raise DataError(f"The folder {path} holds no {', '.join(suffixes)} file{neither}.")


def known_recordings(config, classes):
    """{name: Recording in the run's classes} of the annotated recordings; {} where nothing is annotated."""
    try:
        annotations = dataset_annotations(config)
    except DataError as error:
        missing = config.data.name not in ANNOTATIONS or isinstance(error.__cause__, FileNotFoundError)
        if config.data.annotations or not missing:
            raise
        return {}
    if config.data.class_agnostic:
        annotations = annotations.class_agnostic()
    return in_classes(annotations, classes).recordings


def _file_dataset(config, file, name, classes, known, timing):
    """The Dataset of one file, read once."""
    data = config.data
    recording = _recording(name, known.get(name), timing, data)
    if data.input == "features":
        return _dataset(recording, file, lambda data: read_features(file, data), classes, data)
    if any(timing):
        raise DataError(f"{file} says itself how long it lasts; leave out fps and duration_sec.")
    if data.input == "video":
        return _film_dataset(config, file, recording, classes)
    frames, recording = _video_frames(file, data, recording)
    return _dataset(recording, file, lambda _: FeatureFile(frames), classes, data)


def _film_dataset(config, file, recording, classes):
    """The Dataset of a video that is read once, as its network sees it; its `read` gives a Film."""
    data = config.data
    film = Film(file, data.fps, data.stride_frames, shots.cuts(file, config.cuts) if config.cuts else ())
    recording = dataclasses.replace(recording, duration_sec=film.duration_sec)
    timeline = Timeline(data.fps, data.stride_frames, data.snippet_frames)
    annotations = Annotations(classes, {recording.name: recording})
    return Dataset(annotations, lambda name: film, lambda name: timeline)


def _array_dataset(config, array, classes, timing):
    """The Dataset of an array (T, C), as of a .npy file of it that is not annotated."""
    data = config.data
    if data.input != "features":
        raise DataError(f"The run sees videos (data.input={data.input}), no array; name the file of a video.")
    if array.ndim == 3 and len(array) == 1:
        array = array[0]
    if array.ndim != 2 or not array.size or array.dtype.kind not in "fiu":
        found = f"The array has the shape {array.shape} and the type {array.dtype}"
        form = "real numbers (T, C), one row a sample or a feature vector, neither T nor C 0"
        raise DataError(f"{found}; it must hold {form}.")
    if not (timing.duration_sec or (timing.fps or data.fps) and data.stride_frames):
        needed = "fps=25 (rows a second) or duration_sec=60" if data.stride_frames else "duration_sec=60"
        raise DataError(f"How long the array lasts is not known; say {needed}, for example.")
    features = FeatureFile(array if array.dtype.kind == "f" else array.astype(np.float32))
    return _dataset(_recording(ARRAY, None, timing, data), None, lambda _: features, classes, data)


def _recording(name, known, timing, data):
    """The Recording to detect in, in the test subset: `known` (None: it is not annotated) with `timing`."""
    recording = known or Recording(name, "", None, np.zeros((0, 2)), np.zeros(0, np.int32))
    said = {field: value for field, value in timing._asdict().items() if value}
    if timing.fps:  # of a Recording it is frames a second
        said["fps"] = timing.fps * (data.stride_frames or 1)
    return dataclasses.replace(recording, subset=data.test_subset, **said)


def _dataset(recording, path, read, classes, data):
    """The Dataset of one recording.

    Args:
      recording: Recording.
      path: its file; None: an array in memory.
      read: function `config.data` -> FeatureFile.
      classes: of the run.
      data: `config.data`.
    """
    annotations, place = Annotations(classes, {recording.name: recording}), path or "memory"
    if data.input == "features":
        annotations, data = as_extracted(annotations, {recording.name: path}, data, data.features)
    features, recording = read(data), annotations.recordings[recording.name]
    timed = features.times_sec is not None or features.rate
    if not (timed or data.stride_frames or recording.duration_sec or recording.num_frames):
        example = "--config.data.stride_frames=16 --config.data.snippet_frames=16"
        what_to_do = f"say how many frames apart its features are, for example {example}"
        raise DataError(f"How long {place} lasts is not known; {what_to_do}.")
    return build_dataset(annotations, lambda _: features, {recording.name}, data, f"in {place}")


def _video_frames(file, data, recording):
    """(frames (T, H, W, C) as the network sees them, a memory map; the Recording, with the video's times)."""
    if file.suffix == ".npy" and file.parent.name in STREAMS:  # tal_jax.prepare has made them
        folder = file.parent.parent
        recording = as_stored(recording, folder / "info" / f"{file.stem}.json")
        return read_frames(folder, data, file.stem), recording
    with temporary_folder() as folder:
        store_video(file, folder, data.fps, data.frame_pixels, flow=data.input == "flow")
        info_file = stored_files(folder, file)[1]
        recording, notes = as_stored(recording, info_file), read_notes(info_file)
        if notes:
            log.warning("%s: %s.", file.name, notes)
        return read_frames(pathlib.Path(folder), data, file.stem), recording  # the map outlives its name
