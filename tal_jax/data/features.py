"""Feature files (or raw sensor signals) and the `Dataset` that every system trains on."""

import dataclasses
import functools
import logging
import pathlib
from collections.abc import Callable

import ml_collections
import numpy as np

from tal_jax.data import signals
from tal_jax.data.annotations import IGNORED_LABELS, Annotations
from tal_jax.data.feature_files import FeatureFile, find_features, read_features
from tal_jax.data.made_of_videos import as_extracted
from tal_jax.data.streams import STREAMS, chosen_stream, told_once
from tal_jax.data.timeline import Timeline, make_timeline, on_even_axis, said_rate
from tal_jax.errors import DataError

log = logging.getLogger(__name__)

KEPT_RECORDINGS = 256
OTHER_RATE = 1.3  # from which two rates are not one; videos of 24 and of 30 frames a second are near enough


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Recordings, their annotations and their features.

    Attributes:
        annotations: the recordings of the training and test subsets whose features are there.
        read: recording name -> (T, C) float array, or frames (T, H, W, C) uint8, perhaps a read-only memory
            map; not to be changed, for the last `KEPT_RECORDINGS` are kept. Raises DataError for a bad file.
        timeline: recording name -> Timeline of its T features. Raises DataError for one without a frame rate.
        missing: names of the recordings whose features are not there (only under `allow_missing`).
        proposals: recording name -> proposals.Proposals, for systems that start from these; else None.
        seen_sec: recording name -> seconds that its file lasts, with the samples that folding drops and the
            row that the longer of two streams has more; None: those of its T features.
        frame_sec: recording name -> seconds from one of its features to the next, as its annotation, the
            config or its file says; 0 for features that are spread evenly over a recording, and for frames,
            which may be. None: 0 for all.
        notes: recording name -> what was left out, resampled or found in its file, by kind (see
            `FeatureFile`); None: nothing.
        recording_scores: for these systems, recording name -> (K,) class scores of
            `config.evaluate.recording_scores`; else None.
    """

    annotations: Annotations
    read: Callable[[str], np.ndarray]
    timeline: Callable[[str], Timeline]
    missing: tuple[str, ...] = ()
    proposals: dict | None = None
    recording_scores: dict | None = None
    seen_sec: Callable[[str], float] | None = None
    frame_sec: Callable[[str], float] | None = None
    notes: Callable[[str], dict] | None = None

    def duration_sec(self, name):
        """Length of a recording in seconds: as annotated, or else what its features have seen (which reads
        them).
        """
        annotated = self.annotations.recordings[name].duration_sec
        if annotated:
            return annotated
        return float(
            self.seen_sec(name) if self.seen_sec else self.timeline(name).seen_sec(len(self.read(name)))
        )


def data_config(**fields):
    """The section `config.data` of features and signals: these fields, or their values in `fields`."""
    data = any_data_config()
    # of .csv, .parquet and .feather: names or numbers, from 1, of the columns to read; (): all
    data.csv_columns = ()
    # Of these: name or number of the column of times, perhaps with its unit: "time:ms" (s, ms, us, ns); "":
    # the one that
    # is called time, timestamp, …; "none": times are not used.
    data.csv_time_column = ""
    data.csv_skip_lines = -1  # of .csv: lines before the names or the first sample; -1: they are found
    data.update(fields)
    return data


def any_data_config():
    """The fields of `config.data` that features and frames share."""
    data = ml_collections.ConfigDict()
    # a data set of data.DATASETS; "folder": none of the built-in ones, the next two say all
    data.name = "folder"
    data.input = "features"  # vectors or sensor signals; of frames (frames.data_config): 'rgb' or 'flow'
    data.annotations = ""  # annotation file (schema: annotations.py); "": the data set's own
    data.ignored_labels = IGNORED_LABELS  # labels that are no classes
    # Folder with one file a recording, NAME.npy, .csv … (feature_files.SUFFIXES); "": the data set's own.
    data.features = ""
    data.file_prefix = ""  # what the names of files may begin with before the recording's name
    # frames (samples) a second of recordings whose annotation has no "fps"; 0: spread over the duration
    data.fps = 0.0
    # From one feature to the next; 0: the features of a recording are spread evenly over its frames.
    data.stride_frames = 1
    data.snippet_frames = 1  # that one feature has seen
    data.samples_per_frame = 1  # so many consecutive features are folded into one
    data.statistics_samples = 0  # a frame is the `sample_statistics` of so many samples around it instead
    data.standardised = False  # True: each channel of a recording gets mean 0 and deviation 1
    data.num_channels = 0  # in the files, before folding; 0: as many as the first recording has
    # 'rgb', 'flow': the first, the second half of the channels, of files that hold both; "": all of them.
    data.stream = ""
    data.train_subset = "train"  # as the annotation file calls it
    data.test_subset = "test"
    data.class_agnostic = False  # True: all actions are of one class, "action"
    data.allow_missing = False  # False: recordings without features are an error; True: see evaluate.missing
    data.left_out = ()  # recordings that are used for nothing, whether their features are there or not
    return data


def folder_dataset(annotations, folder, data, hint=""):
    """Dataset of a folder that holds one feature file for each recording, see `feature_files.read_features`.

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
    found = find_features(folder)
    paths = {name: found.get(name) or found.get(data.file_prefix + name) for name in annotations.recordings}
    annotations, data = as_extracted(annotations, paths, data)
    there = {name for name, path in paths.items() if path}
    place = f"in {folder}" if pathlib.Path(folder).is_dir() else f"in {folder}, a folder that does not exist"
    return build_dataset(annotations, lambda name: read_features(paths[name], data), there, data, place, hint)


def build_dataset(annotations, read_raw, available, data, place, hint=""):
    """Dataset of a function that reads the features of a recording; puts samples that have times on an even
    axis, folds them and checks channels on reading. What a file is like that others are not is logged, the
    first of each kind.

    Args:
        annotations: Annotations.
        read_raw: recording name -> (T, C) array, or the FeatureFile that holds it.
        available: names that `read_raw` knows.
        data: the fields of `config.data`.
        place: where the features are looked for, for messages: "in FOLDER".
        hint: see `folder_dataset`.

    Returns, Raises: as `folder_dataset`.
    """
    if data.stream and data.stream not in STREAMS:
        raise DataError(
            f"config.data.stream is '{data.stream}'; it must be one of {', '.join(STREAMS)}, or empty."
        )
    subsets = tuple(filter(None, (data.train_subset, data.test_subset, data.get("clips_subset"))))
    wanted = {
        name: recording
        for name, recording in annotations.recordings.items()
        if recording.subset in subsets and name not in data.left_out
    }
    missing = tuple(name for name in wanted if name not in available)
    if missing:
        what = "feature file" if data.input == "features" else "frames"
        count = (
            f"{len(missing)} of {len(wanted)} recordings have no {what} {place} (the first is '{missing[0]}')"
        )
        if not data.allow_missing or len(missing) == len(wanted):
            rest = (
                ""
                if len(missing) == len(wanted)
                else " Set config.data.allow_missing=True to go on with the others."
            )
            raise DataError(f"{count}.{hint and ' ' + hint}{rest}")
        log.warning("%s; they are not used.", count)
    recordings = {name: recording for name, recording in wanted.items() if name not in missing}
    if not recordings:
        names = ("train_subset", "test_subset", "clips_subset")
        fields = {name: data[name] for name in names if data.get(name)}
        asked = ", ".join(f"config.data.{name} ('{subset}')" for name, subset in fields.items())
        raise DataError(
            f"No recording has a subset of {asked}; the annotations have {annotations.subset_names()}."
        )

    num_channels, expected_by = data.num_channels, "config.data.num_channels is"
    axes, tell = {}, told_once()  # recording name -> Axis, of those that have been read

    @functools.lru_cache(KEPT_RECORDINGS)
    def read(name):
        nonlocal num_channels, expected_by
        file, where = read_raw(name), f"Recording '{name}' {place}"
        file = file if isinstance(file, FeatureFile) else FeatureFile(file)
        if not num_channels:  # all have as many as the first that is read
            num_channels, expected_by = file.array.shape[-1], f"recording '{name}' has"
        if file.array.shape[-1] != num_channels:
            raise DataError(f"{where} has {file.array.shape[-1]} channels, but {expected_by} {num_channels}.")
        signal, axes[name] = on_even_axis(file, said_rate(recordings[name], data), where)
        for kind, note in axes[name].notes.items():
            tell(kind, f"{where} {note}.")
        if data.stream:
            signal = chosen_stream(signal, data.stream, file.widths, where)
        if len(signal) < data.samples_per_frame:
            raise DataError(
                f"{where} has {len(signal)} samples, fewer than the {data.samples_per_frame} of one frame "
                "(config.data.samples_per_frame)."
            )
        if data.statistics_samples:
            signal = signals.sample_statistics(signal, data.samples_per_frame, data.statistics_samples)
        elif data.samples_per_frame > 1:
            signal = signals.fold_samples(signal, data.samples_per_frame)
        return signals.standardise(signal) if data.standardised else signal

    def axis(name):
        if name not in axes:
            read(name)
        return axes[name]

    @functools.cache
    def unfolded_timeline(name):
        return make_timeline(recordings[name], data, axis)

    def timeline(name):
        return unfolded_timeline(name).folded(data.samples_per_frame)

    def seen_sec(name):
        return unfolded_timeline(name).seen_sec(axis(name).rows)

    def frame_sec(name):
        if data.input != "features" or not (said_rate(recordings[name], data) or axis(name).rate):
            return 0.0
        return timeline(name).stride_frames / timeline(name).fps

    kept = Annotations(annotations.classes, recordings)
    return Dataset(
        kept,
        read,
        timeline,
        missing,
        seen_sec=seen_sec,
        frame_sec=frame_sec,
        notes=lambda name: axis(name).notes,
    )


def common_frame_sec(dataset, names):
    """(seconds, problem): how long a frame lasts in the recordings, see `Dataset.frame_sec`; a sentence if
    they do not agree.

    Seconds are the median, or None where the recordings do not agree or nothing says. The sentence is ""
    where they agree.
    """
    lasts = {name: dataset.frame_sec(name) for name in names} if dataset.frame_sec else {}
    lasts = {name: frame_sec for name, frame_sec in lasts.items() if frame_sec}
    if not lasts:
        return None, ""
    short, long = min(lasts, key=lasts.get), max(lasts, key=lasts.get)
    if lasts[long] < OTHER_RATE * lasts[short]:
        return float(np.median([*lasts.values()])), ""
    return None, (
        f"A frame lasts {lasts[short]:.4g} s in recording '{short}' and {lasts[long]:.4g} s in recording "
        f"'{long}'; resample the "
        "files to one rate, for a network counts frames."
    )


def file_notes(dataset, constant):
    """Sentences about feature files, as `--mode=check_data` prints them: what was left out or resampled, what
    never changes.

    Args:
        dataset: Dataset.
        constant: name of each recording that can be read -> what `signals.constant_channels` says of its
            features.

    Returns:
        list of sentences; those that do no harm begin with "Note:".
    """
    kinds = {}
    for name in constant:
        for kind, note in dataset.notes(name).items() if dataset.notes else ():
            kinds.setdefault(kind, []).append((name, note))
    sentences = [
        f"Note: recording '{found[0][0]}' {found[0][1]}."
        + (f" {len(found) - 1} more have such notes." if len(found) > 1 else "")
        for found in kinds.values()
    ]
    still = [name for name, (channels, count) in constant.items() if len(channels) == count]
    if still:
        return [
            *sentences,
            f"{len(still)} recordings have no channel that ever changes; the first is '{still[0]}'.",
        ]
    everywhere = set.intersection(*({*channels} for channels, _ in constant.values())) if constant else set()
    if everywhere:
        listed = ", ".join(map(str, sorted(everywhere)))
        sentences.append(f"Note: these channels, counted from 1, never change in any recording: {listed}.")
    some = {name: [c for c in channels if c not in everywhere] for name, (channels, _) in constant.items()}
    some = {name: channels for name, channels in some.items() if channels}
    if some:
        name, channels = next(iter(some.items()))
        listed = ", ".join(map(str, channels))
        sentences.append(
            f"Note: {len(some)} recordings have channels that never change; the first is '{name}', channels "
            f"{listed}."
        )
    return sentences
