"""`config.data` of features or raw sensor signals, and the `Dataset` of a folder of them."""

import dataclasses
import functools
import logging
import pathlib

import ml_collections

from tal_jax.data.annotations import IGNORED_LABELS, Annotations
from tal_jax.data.dataset import Dataset
from tal_jax.data.feature_files import find_features, read_features
from tal_jax.data.made_of_videos import as_extracted
from tal_jax.data.streams import STREAMS, chosen_stream, told_once
from tal_jax.data.tables import FeatureFile
from tal_jax.data.timeline import make_timeline, on_even_axis, said_rate
from tal_jax.errors import DataError
from tal_jax.runtime_export import as_frames, finite_values

log = logging.getLogger(__name__)

KEPT_RECORDINGS = 256


def data_config(**fields):
    """The section `config.data` of features and signals: these fields, or their values in `fields`."""
    data = any_data_config()
    # of .csv, .parquet and .feather: names or numbers, from 1, of the columns to read; (): all
    data.csv_columns = ()
    # Of these: name or number of the column of times, perhaps with its unit: "time:ms" (s, ms, us, ns); "":
    # the one that is called time, timestamp, …; "none": times are not used.
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
    # Actions are left out that last less, and those that begin and end within so many seconds of an earlier
    # action of their class; 0: none are. ActionFormer: 0.001.
    data.duplicate_sec = 0.0
    # Folder with one file a recording, NAME.npy, .csv … (feature_files.SUFFIXES); "": the data set's own.
    data.features = ""
    data.file_prefix = ""  # what the names of files may begin with before the recording's name
    # frames (samples) a second of recordings whose annotation has no "fps"; 0: spread over the duration
    data.fps = 0.0
    # From one feature to the next; 0: the features of a recording are spread evenly over its frames.
    data.stride_frames = 1
    data.snippet_frames = 1  # that one feature has seen
    data.samples_per_frame = 1  # so many consecutive features are folded into one
    # Of channels as the files have them: what is subtracted of each, and then divided by; (): nothing.
    data.channel_offsets = ()
    data.channel_scales = ()
    # True: values that are NaN are put on the line between those around them, and one channel more says where
    # they were: the share of the channels that lack a value.
    data.fill_missing = False
    data.statistics_samples = 0  # a frame is the `sample_statistics` of so many samples around it instead
    data.samples_beside = False  # True: its samples stand beside them, for the network to learn from
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
    """Dataset of a function that reads the features of a recording.

    On reading, channels are checked, and samples that have times are put on an even axis and folded. Of the
    notes on files the first of each kind is logged.

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
        choices = ", ".join(STREAMS)
        raise DataError(f"config.data.stream is '{data.stream}'; it must be one of {choices}, or empty.")
    recordings, missing = _with_features(annotations, available, data, place, hint)
    num_channels, expected_by = data.num_channels, "config.data.num_channels is"
    # recording name -> Axis, and names of channels, of those that have been read
    axes, names, tell = {}, {}, told_once()
    # Names of the channels in their order: of training, or else of the first recording that is read.
    order, ordered_by = data.get("channel_names", ()), "the training recordings"

    @functools.lru_cache(KEPT_RECORDINGS)
    def read(name):
        nonlocal num_channels, expected_by, order, ordered_by
        file, where = read_raw(name), f"Recording '{name}' {place}"
        file = file if isinstance(file, FeatureFile) else FeatureFile(file)
        channels = file.array.shape[-1]
        if not num_channels:  # all have as many as the first that is read
            num_channels, expected_by = channels, f"recording '{name}' has"
        if channels != num_channels:
            raise DataError(f"{where} has {channels} channels, but {expected_by} {num_channels}.")
        if file.channels and not order:
            order, ordered_by = file.channels, f"recording '{name}'"
        if not data.get("csv_columns"):  # of tables; what is said has an order of its own
            file = _in_order(file, order, where, ordered_by)
        signal, axes[name] = on_even_axis(file, said_rate(recordings[name], data), where)
        names[name] = file.channels
        if data.fill_missing and (missing := (~finite_values(signal)).mean()):
            if missing == 1:
                raise DataError(
                    f"{where} has NaN, or values beyond 1e15, alone; correct the file, or leave it out."
                )
            found = f"has NaN, or a value beyond 1e15, in {missing:.2%} of its values"
            filled = f"{found}, each put on the line between its neighbours"
            axes[name].notes["filled"] = filled
        for kind, note in axes[name].notes.items():
            tell(kind, f"{where} {note}.")
        if data.stream:
            signal = chosen_stream(signal, data.stream, file.widths, where)
        return _as_frames(signal, data, where)

    def axis(name):
        if name not in axes:
            read(name)
        return axes[name]

    @functools.cache
    def unfolded_timeline(name):
        return make_timeline(recordings[name], data, axis)

    def timeline(name):
        return unfolded_timeline(name).folded(data.samples_per_frame)

    def frame_sec(name):
        if data.input != "features" or not (said_rate(recordings[name], data) or axis(name).rate):
            return 0.0
        return timeline(name).stride_frames / timeline(name).fps

    def seen_sec(name):
        return unfolded_timeline(name).seen_sec(axis(name).rows)

    def notes(name):
        return axis(name).notes

    def channel_names(name):
        axis(name)
        return names[name]

    kept = Annotations(annotations.classes, recordings)
    more = dict(seen_sec=seen_sec, frame_sec=frame_sec, notes=notes, channels=channel_names)
    return Dataset(kept, read, timeline, missing, **more)


def _in_order(file, names, where, whose):
    """The FeatureFile with its columns in the order of `names`, where it has these names in any case.

    A file without names, or with wholly other ones, stays as it is; of wholly other ones a note is added.

    Args:
        file: FeatureFile.
        names: of as many channels, or ().
        where: begins the sentence of an error.
        whose: recordings have these names, for the sentence.

    Raises:
        DataError: the file has some of the names, and lacks others.
    """
    own, names = ([name.casefold() for name in each] for each in (file.channels, names))
    lacking = [name for name in names if name not in own]
    if own == names or not own or not names or len({*names}) < len(names):
        return file
    if len(lacking) == len(names):
        other = f"has other columns than {whose}, '{own[0]:.40}' for '{names[0]:.40}'; they are read by place"
        return dataclasses.replace(file, notes=file.notes | {"other columns": other})
    if lacking:
        found = f"{where} has only some columns of {whose}: '{lacking[0]:.60}' is missing"
        raise DataError(f"{found}; name the columns to read with config.data.csv_columns.")
    order = [own.index(name) for name in names]
    channels = tuple(file.channels[i] for i in order)
    return dataclasses.replace(file, array=file.array[:, order], channels=channels)


def _with_features(annotations, available, data, place, hint):
    """(recordings of the subsets of `config.data` that have features, names of those that have none).

    Raises DataError where some are missing, unless `data.allow_missing`, and where none is left.
    """
    fields = ("train_subset", "test_subset", "clips_subset")
    subsets = {f"config.data.{field} ('{data[field]}')": data[field] for field in fields if data.get(field)}
    recordings = annotations.recordings
    wanted = [name for name in recordings if recordings[name].subset in subsets.values()]
    wanted = [name for name in wanted if name not in data.left_out]
    if not wanted:
        found = f"a subset of {', '.join(subsets)}; the annotations have {annotations.subset_names()}"
        raise DataError(f"No recording has {found}.")
    missing = tuple(name for name in wanted if name not in available)
    if missing:
        what = "feature file" if data.input == "features" else "frames"
        lack = f"{len(missing)} of {len(wanted)} recordings have no {what} {place}"
        lack += f" (the first is '{missing[0]}')"
        go_on = " Set config.data.allow_missing=True to go on with the others."
        go_on = go_on if len(missing) < len(wanted) else ""
        if not data.allow_missing or not go_on:
            raise DataError(f"{lack}.{hint and ' ' + hint}{go_on}")
        log.warning("%s; they are not used.", lack)
    return {name: recordings[name] for name in wanted if name in available}, missing


def _as_frames(signal, data, where):
    """`runtime_export.as_frames` of samples (T, C). Raises DataError for too few, or of another width."""
    for field in ("channel_offsets", "channel_scales"):
        if data[field] and len(data[field]) != signal.shape[1]:
            found = f"{where} has {signal.shape[1]} channels, but config.data.{field} has {len(data[field])}"
            whose = "A plan, or a run, fits recordings of its own channels alone"
            raise DataError(f"{found} numbers, one for each channel. {whose}; else correct the field.")
    if len(signal) < data.samples_per_frame:
        found = f"{len(signal)} samples, fewer than the {data.samples_per_frame} of one frame"
        raise DataError(f"{where} has {found} (config.data.samples_per_frame).")
    return as_frames(signal, data)
