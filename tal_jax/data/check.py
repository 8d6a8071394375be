"""--mode=check_data: reads a whole data set and says in sentences what is wrong with it."""

import collections

import numpy as np

from tal_jax import data
from tal_jax.data.features import file_notes
from tal_jax.data.proposals import read_proposals
from tal_jax.data.signals import constant_channels, finite_rows
from tal_jax.errors import DataError


def check_dataset(config):
    """Reads a whole data set, every feature file of it.

    Returns:
        (summary, problems): a text of a few lines that says what there is; what is wrong with it, one sentence each, of which
        those that begin with "Note:" do no harm. Missing features of some recordings are problems whatever
        `config.data.allow_missing` says.

    Raises:
        DataError: the data set as a whole cannot be read: no annotation file, an unknown label, no feature file at all.
    """
    config = config.copy_and_resolve_references()
    config.data.allow_missing = True
    proposals = config.get("proposals")
    if proposals:
        config.proposals = ""  # they are read below
    dataset = data.load_dataset(config)
    recordings = dataset.annotations.recordings
    subsets = {recording.subset for recording in recordings.values()}
    problems = [
        f"No recording with features has the subset '{config.data[field]}' of config.data.{field}; the annotations have "
        f"{data.dataset_annotations(config).subset_names()}."
        for field in ("train_subset", "test_subset", "clips_subset")
        if config.data[field] and config.data[field] not in subsets
    ]
    if config.data.train_subset in subsets and not any(
        len(recording.labels) for recording in recordings.values() if recording.subset == config.data.train_subset
    ):
        problems.append(f"No recording of the subset '{config.data.train_subset}' has an annotation to learn from.")
    what = "feature file" if config.data.input == "features" else "frames"
    problems += [f"Recording '{name}' has no {what}." for name in dataset.missing]
    shapes, constant = {}, {}
    for name, recording in recordings.items():
        try:
            features, timeline = dataset.read(name), dataset.timeline(name)
            shapes[name] = features.shape
            if config.data.input == "features":
                constant[name] = constant_channels(features, config.data.samples_per_frame, config.data.statistics_samples)
            found = feature_problems(features, recording, timeline) + _annotation_problems(
                recording, dataset.annotations.classes, timeline, dataset.duration_sec(name)
            )
            problems += [f"Recording '{name}' {sentence}" for sentence in found]
        except DataError as error:
            problems.append(str(error) if f"'{name}'" in str(error) else f"Recording '{name}': {error}")
        if not len(recording.labels):
            but = " but of labels in config.data.ignored_labels" if len(recording.ignored_sec) else ""
            problems.append(f"Note: recording '{name}' has no annotation{but}.")
    problems += file_notes(dataset, constant)
    summary = _summary(config, dataset, shapes)
    try:
        summary += f"\n{proposals}: {read_proposals(proposals, dataset.annotations)[1]}" if proposals else ""
    except DataError as error:
        problems.append(str(error))
    return summary, problems


def _summary(config, dataset, shapes):
    """What there is in the recordings that could be read, of `shapes` (T, C) or (T, H, W, C)."""
    classes, recordings = dataset.annotations.classes, dataset.annotations.recordings
    cells = [np.diff(dataset.timeline(name).to_cells(recordings[name].segments_sec)) for name in shapes]
    cells = np.concatenate([np.zeros((0, 1)), *cells])
    seconds = np.concatenate([np.zeros((0, 1)), *(np.diff(recordings[name].segments_sec) for name in shapes)])
    subsets = collections.Counter(recordings[name].subset for name in shapes)
    lines = [f"{len(shapes)} recordings ({', '.join(f'{count} {subset}' for subset, count in subsets.items())})"]
    if shapes:
        hours = sum(float(dataset.timeline(name).to_seconds(shape[0])) for name, shape in shapes.items()) / 3600
        size = " x ".join(map(str, next(iter(shapes.values()))[1:]))
        lines[0] += f", {hours:.2f} hours; {sum(shape[0] for shape in shapes.values())} frames of {size} values"
    lines.append(f"{len(classes)} classes: {', '.join(classes)}")
    ignored = dataset.annotations.count_ignored()
    if ignored:
        labels = ", ".join(config.data.ignored_labels)
        lines.append(f"{ignored} intervals with an ignored label (config.data.ignored_labels: {labels})")
    timed = np.isfinite(seconds)
    if not timed.all():
        lines.append(f"{(~timed).sum()} labels without times")
    seconds, cells = seconds[timed], cells[timed]
    if len(seconds):
        lines.append(
            f"{len(seconds)} actions of {seconds.min():.2f} to {seconds.max():.2f} s; the longest takes {cells.max():.0f} frames, "
            f"a window {f'has {config.window.frames}' if config.window.frames else 'is the whole recording'}"
        )
    return "\n".join(lines)


def feature_problems(features, recording, timeline):
    """What is wrong with the features (T, C) of a recording: NaN, and a T that does not fit its duration. Ends of sentences."""
    problems = []
    bad_rows = np.flatnonzero(~finite_rows(features)) if features.dtype.kind == "f" else np.zeros(0)
    if bad_rows.size:
        problems.append(
            f"has NaN or infinite features in {bad_rows.size} of {len(features)} rows, the first is row {bad_rows[0]}."
        )
    if recording.duration_sec is not None:
        covered_sec = float(timeline.to_seconds(len(features)))
        slack_sec = 0.02 * recording.duration_sec + (2 * timeline.stride_frames + timeline.snippet_frames) / timeline.fps
        if abs(covered_sec - recording.duration_sec) > slack_sec:
            problems.append(
                f"is {recording.duration_sec:.2f} s long as annotated, but its {len(features)} features at {timeline.fps:g} fps "
                f"and stride {timeline.stride_frames:g} cover {covered_sec:.2f} s; one of the four is wrong."
            )
    return problems


def annotation_problems(dataset):
    """The problems of the annotations alone, one sentence each.

    Reads no features where durations are annotated and hold the actions. Else the timeline is needed, which some data sets make
    from the number of features (`timeline.make_timeline`).

    Raises:
        DataError: a recording has no timeline.
    """
    problems = []
    for name, recording in dataset.annotations.recordings.items():
        times_sec = np.concatenate([recording.segments_sec, recording.ignored_sec])
        within = recording.duration_sec is not None and not (times_sec > recording.duration_sec).any()
        timeline = None if within else dataset.timeline(name)
        found = _annotation_problems(recording, dataset.annotations.classes, timeline, recording.duration_sec)
        problems += [f"Recording '{name}' {sentence}" for sentence in found]
    return problems


def _annotation_problems(recording, classes, timeline, duration_sec):
    """Segments that are reversed, outside the recording, or there twice.

    timeline: None if all ends are within the duration. duration_sec: None if ends are not to be checked.
    """
    problems = []
    seen = set()
    actions = zip(recording.labels, recording.segments_sec, strict=True)
    rows = [(f"'{classes[label]}'", *segment) for label, segment in actions]
    rows += [("an ignored label", *segment) for segment in recording.ignored_sec]
    for label, start_sec, end_sec in rows:
        if np.isnan(start_sec + end_sec):
            continue  # a label alone
        here = f"has {label} from {start_sec:g} s to {end_sec:g} s"
        if end_sec <= start_sec:
            problems.append(f"{here}: the end is not after the start.")
        if start_sec < 0:
            problems.append(f"{here}: it begins before the recording.")
        if timeline and duration_sec is not None and end_sec > duration_sec + 1 / timeline.fps:
            problems.append(f"{here}: it ends after the recording, which lasts {duration_sec:.2f} s.")
        if (label, start_sec, end_sec) in seen:
            problems.append(f"{here} more than once.")
        seen.add((label, start_sec, end_sec))
    return problems
