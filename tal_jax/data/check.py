"""--mode=check_data: reads a whole data set and says in sentences what is wrong with it."""

import numpy as np

from tal_jax import data
from tal_jax.data.annotations import DataError


def check_dataset(config):
    """What is wrong with the data set of `config.data`, one sentence each; those that begin with "Note:" do no harm.

    Missing features of some recordings are listed here whatever `config.data.allow_missing` says. Reads every feature file.

    Raises:
        DataError: the data set as a whole cannot be read: no annotation file, an unknown label, no feature file at all.
    """
    config = config.copy_and_resolve_references()
    config.data.allow_missing = True
    dataset = data.load_dataset(config)
    recordings = dataset.annotations.recordings
    subsets = {recording.subset for recording in recordings.values()}
    problems = [
        f"No recording with features has the subset '{config.data[field]}' of config.data.{field}."
        for field in ("train_subset", "test_subset")
        if config.data[field] not in subsets
    ]
    problems += [f"Recording '{name}' has no feature file." for name in dataset.missing]
    for name, recording in recordings.items():
        try:
            features = dataset.read(name)
        except DataError as error:
            problems.append(f"Recording '{name}': {error}")
            features = None
        found = _feature_problems(features, recording, dataset.timeline[name]) if features is not None else []
        found += _annotation_problems(recording, dataset.annotations.classes, dataset.timeline[name], features)
        problems += [f"Recording '{name}' {sentence}" for sentence in found]
        if not len(recording.labels):
            problems.append(f"Note: recording '{name}' has no annotation.")
    return problems


def _feature_problems(features, recording, timeline):
    problems = []
    bad_rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
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
    """The problems of the annotations alone, one sentence each; reads no features."""
    return [
        f"Recording '{name}' {sentence}"
        for name, recording in dataset.annotations.recordings.items()
        for sentence in _annotation_problems(recording, dataset.annotations.classes, dataset.timeline[name], None)
    ]


def _annotation_problems(recording, classes, timeline, features):
    """Segments that are reversed, outside the recording, or there twice."""
    problems = []
    last_sec = recording.duration_sec
    if last_sec is None and features is not None:
        last_sec = float(timeline.to_seconds(len(features)))
    seen = set()
    for label, (start_sec, end_sec) in zip(recording.labels, recording.segments_sec, strict=True):
        here = f"has '{classes[label]}' from {start_sec:g} s to {end_sec:g} s"
        if end_sec <= start_sec:
            problems.append(f"{here}: the end is not after the start.")
        if start_sec < 0:
            problems.append(f"{here}: it begins before the recording.")
        if last_sec is not None and end_sec > last_sec + 1 / timeline.fps:
            problems.append(f"{here}: it ends after the recording, which lasts {last_sec:.2f} s.")
        if (label, start_sec, end_sec) in seen:
            problems.append(f"{here} more than once.")
        seen.add((label, start_sec, end_sec))
    return problems
