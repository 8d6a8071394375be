"""--mode=check_data: reads a whole data set and says in sentences what is wrong with it."""

import collections
import contextlib
import dataclasses
import difflib
import logging
import re

import numpy as np

from tal_jax import cross_validation, data, evaluate, planned_run
from tal_jax.data import check
from tal_jax.data.annotations import Annotations
from tal_jax.data.dataset import common_frame_sec, file_notes
from tal_jax.data.feature_files import SUFFIXES
from tal_jax.data.proposals import read_proposals
from tal_jax.data.signals import constant_channels
from tal_jax.errors import DataError
from tal_jax.propose import first_stage_of
from tal_jax.published import i3d as published
from tal_jax.runtime.files import list_files
from tal_jax.runtime.parallel import devices_of
from tal_jax.systems import SYSTEMS, require_valid

SHORTEST_FRAMES = 0.1  # of an action that its frames may show
ACTION = np.dtype([("subset", object), ("seconds", float), ("frames", float), ("label", int)])
BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])")  # spaces and such, not those of numbers


@contextlib.contextmanager
def _quiet():
    """Keeps warnings off the terminal: they are among the problems."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@_quiet()
def check_dataset(config):
    """Reads a whole data set, every feature file of it; says what training would refuse, and not learn.

    Returns:
        (summary, problems): a text that describes the data set in a few lines and a table of its classes; one
        sentence for each fault, of which those that begin with "Note:" do no harm. Missing features of some
        recordings are problems whatever `config.data.allow_missing` says.

    Raises:
        DataError: the data set as a whole cannot be read: no annotation file, an unknown label, no feature
            file at all.
    """
    invalid = _problem(_require_trainable, config)
    config = config.copy_and_resolve_references()
    config.data.allow_missing = True
    path = config.get("proposals")
    if path:
        config.proposals = ""  # they are read below
    dataset, annotations = data.load_dataset(config), data.dataset_annotations(config)
    classes = dataset.annotations.classes
    left_out = list_files(config.data.features, SUFFIXES)[1] if config.data.features else ""
    problems = [*invalid, *filter(None, [left_out and f"Note: {left_out}"])]
    problems += annotations.absent_ignored(config.data.ignored_labels)
    problems += _subset_problems(config, dataset, annotations)
    problems += _class_problems(config, dataset.annotations)
    shapes, of_recordings = _read_all(config, dataset)
    problems += [*of_recordings, *filter(None, common_frame_sec(dataset, shapes)[1:])]
    actions = _actions(dataset, shapes)
    problems += _short_problems(classes, actions)
    summary = _summary(config, dataset, annotations, shapes, actions)
    if unit_problem := check.unit_problem(dataset, shapes):  # what would be learnt of such times is of no use
        return summary, [*problems, unit_problem]
    readable = Annotations(classes, {name: dataset.annotations.recordings[name] for name in shapes})
    readable = dataclasses.replace(dataset, annotations=readable)
    try:
        if path:
            proposals, report = read_proposals(path, dataset.annotations)
            summary += f"\n{path}: {report}"
            scores = data.recording_scores(config, classes)
            readable = dataclasses.replace(readable, proposals=proposals, recording_scores=scores)
        if _counts(readable.annotations, config.data.test_subset).any():  # else that is a problem already
            names = evaluate.test_recordings(config, readable)
            problems += _problem(evaluate.scored_annotations, config, readable, names)
        return summary, problems + ([] if invalid else _learning_problems(config, readable))
    except DataError as error:
        return summary, [*problems, str(error)]


def _require_trainable(config):
    """Raises DataError for a config, or a first stage of it, that a training refuses before it reads data."""
    require_valid(config, training=True)
    for part in [config, first_stage_of(config)] if "first_stage" in config else [config]:
        devices_of(part)
        published.require_backbone(part.train.get("backbone_weights", ""))


def _problem(require, *arguments):
    """[the sentence of the DataError that `require(*arguments)` raises], or [] where it raises none."""
    try:
        require(*arguments)
        return []
    except DataError as error:
        return [str(error)]


def _subset_problems(config, dataset, annotations):
    """Yields sentences on subsets of which nothing can be learnt, or against which nothing can be scored."""
    known, settings = dataset.annotations, config.data
    subsets = {recording.subset for recording in known.recordings.values()}
    folds = planned_run.is_cross_validated(config)
    if folds:
        number = len(cross_validation.folds_of(cross_validation.training_recordings(config)))
        said = f"no recording is for the test: training scores {number} folds, each by a model without it."
        yield f"Note: {said if number else cross_validation.NOTHING_SCORED}"
    if "plan" in config:
        for subset in sorted({recording.subset for recording in annotations.recordings.values()} - subsets):
            number = len(annotations.subset(subset).recordings)
            yield f"Note: {number} recordings of the subset '{subset}' are not used."
    for field in ("train_subset", *([] if folds else ["test_subset"]), "clips_subset"):
        if settings.get(field) and settings[field] not in subsets:
            of_config = f"'{settings[field]}' of config.data.{field}"
            has = annotations.subset_names()
            yield f"No recording with features has the subset {of_config}; the annotations have {has}."
    for field, purpose in (("train", "annotation to learn from"), ("test", "action to score against")):
        subset = settings[f"{field}_subset"]
        if subset in subsets and not _counts(known, subset).any():
            ignored = known.subset(subset).count_ignored()
            of_ignored = f": all {ignored} have a label of config.data.ignored_labels; ignore fewer labels"
            why = of_ignored if ignored else "; annotate them"
            yield f"No recording of the subset '{subset}' has an {purpose}{why}."


def _class_problems(config, annotations):
    """Yields sentences on classes with several names, and on those that one of the subsets lacks."""
    alike = {}
    for name in annotations.classes:
        alike.setdefault(BETWEEN_LETTERS.sub("", name.strip().casefold()), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            which = (
                f"The {len(names)} classes {', '.join(map(repr, names))} differ in nothing but case, spaces"
            )
            yield f"{which}, '_' and '-'; if they are one, call them alike in the annotations."
    train_subset, test_subset = config.data.train_subset, config.data.test_subset
    train, test = _counts(annotations, train_subset), _counts(annotations, test_subset)
    for name, in_train, in_test in zip(annotations.classes, train, test, strict=True):
        close = _close(name, annotations.classes)
        meant = f" '{close}' is a class too; if it is meant, correct the label." if close else ""
        if in_test and not in_train and train.any():
            where = f"has {in_test} annotation(s) in the subset '{test_subset}' and none in '{train_subset}'"
            what_to_do = f"annotate it there, or {check.ignoring(config, name)}"
            yield f"The class '{name}' {where}, so it is not learnt; {what_to_do}.{meant}"
        elif close and in_train and not in_test:
            yield f"Note: no annotation of the subset '{test_subset}' has the class '{name}'.{meant}"
        elif not in_train and not in_test:
            yield f"Note: no annotation of the subsets used here has the class '{name}'."


def _close(label, classes):
    """The class that a label may be a misspelling of, by its letters; "" if there is none."""
    letters = {"".join(filter(str.isalpha, name.casefold())): name for name in classes}
    own = "".join(filter(str.isalpha, label.casefold()))
    found = difflib.get_close_matches(own, [other for other in letters if other != own], 1, cutoff=0.75)
    return letters[found[0]] if found else ""


def _counts(annotations, subset):
    """(K,) annotations of each class in a subset, which may have no recordings."""
    labels = [recording.labels for recording in annotations.recordings.values() if recording.subset == subset]
    return np.bincount(np.concatenate([np.zeros(0, int), *labels]), minlength=len(annotations.classes))


def _read_all(config, dataset):
    """Reads all recordings: {name: shape of its features}, and sentences on those that are wrong."""
    settings, classes = config.data, dataset.annotations.classes
    of_features = settings.input == "features"
    folding = settings.samples_per_frame, settings.statistics_samples
    what = "feature file" if of_features else "frames"
    problems = [f"Recording '{name}' has no {what}." for name in dataset.missing]
    shapes, constant = {}, {}
    for name, recording in dataset.annotations.recordings.items():
        try:
            features, timeline = dataset.read(name), dataset.timeline(name)
            shapes[name] = features.shape
            found = [*check.feature_problems(features, recording, timeline, *folding)]
            if of_features:
                still, channels = constant_channels(features, *folding, settings.samples_beside)
                channels -= settings.fill_missing  # the last one says where values were missing
                constant[name] = [channel for channel in still if channel <= channels], channels
                found += check.num_frames_problems(recording, len(features), timeline, settings)
            slack_sec, duration_sec = 1 / timeline.fps, dataset.duration_sec(name)
            found += check.recording_problems(recording, classes, slack_sec, duration_sec)
            problems += [f"Recording '{name}' {sentence}" for sentence in found]
        except DataError as error:
            problems.append(str(error) if f"'{name}'" in str(error) else f"Recording '{name}': {error}")
        if not len(recording.labels):
            but = " but of labels in config.data.ignored_labels" if len(recording.ignored_sec) else ""
            problems.append(f"Note: recording '{name}' has no annotation{but}.")
    return shapes, problems + file_notes(dataset, constant)


def _actions(dataset, names):
    """(N,) ACTION, those of the recordings `names`. Lengths are NaN where only the label is known."""
    rows = []
    for name in names:
        recording = dataset.annotations.recordings[name]
        subset, segments_sec = [recording.subset] * len(recording.labels), recording.segments_sec
        seconds, frames = np.diff(segments_sec), np.diff(dataset.timeline(name).to_cells(segments_sec))
        rows += zip(subset, seconds[:, 0], frames[:, 0], recording.labels, strict=True)
    return np.array(rows, ACTION)


def _short_problems(classes, actions):
    """Yields sentences on classes with actions so short that the frames do not show them."""
    for k, name in enumerate(classes):
        of_class = actions["frames"][(actions["label"] == k) & (actions["seconds"] > 0)]
        short = of_class[of_class < SHORTEST_FRAMES]
        if len(short):
            note = "Note: " if len(short) < len(of_class) else ""
            which = (
                f"{note}{len(short)} of the {len(of_class)} actions of the class '{name}' are shorter than a"
            )
            least = f"tenth of a frame, the shortest takes {short.min():.2g} frames"
            yield f"{which} {least}; correct their times, or the rate of the recordings."


def _learning_problems(config, dataset):
    """Sentences on what the system, or its first stage where it has no proposals, would not learn.

    Raises:
        DataError: for what would end its training.
    """
    if dataset.proposals is None and "first_stage" in config:
        config = config.first_stage.copy_and_resolve_references()
        config.data.allow_missing = True
        dataset = data.load_dataset(config)
    if not _counts(dataset.annotations, config.data.train_subset).any():
        return []  # that is a problem already
    SYSTEMS[config.system].examples(config, dataset)
    return SYSTEMS[config.system].problems(config, dataset)


def _summary(config, dataset, annotations, shapes, actions):
    """The text that describes the recordings that could be read.

    Args:
        config: the run's config.
        dataset: Dataset.
        annotations: as its file has them.
        shapes: {recording: (T, C) or (T, H, W, C)} of those that could be read.
        actions: (N,) ACTION, theirs.
    """
    classes, recordings = dataset.annotations.classes, dataset.annotations.recordings
    subsets = collections.Counter(recordings[name].subset for name in shapes)
    window = 0 if config.window.get("resized") else config.window.frames
    counted = ", ".join(f"{count} {subset}" for subset, count in subsets.items())
    lines = [f"{len(shapes)} recordings ({counted})"]
    if shapes:
        frames = {name: shape[0] for name, shape in shapes.items()}
        hours = sum(float(dataset.timeline(name).to_seconds(count)) for name, count in frames.items()) / 3600
        size = " x ".join(map(str, next(iter(shapes.values()))[1:]))
        lines[0] += f", {hours:.2f} hours; {sum(frames.values())} frames of {size} values"
    if annotations.unread:
        lines.append(f"Fields of the annotations that are not read: {', '.join(annotations.unread)}")
    if ignored := dataset.annotations.count_ignored():
        labels = ", ".join(config.data.ignored_labels)
        lines.append(f"{ignored} intervals with an ignored label (config.data.ignored_labels: {labels})")
    timed = actions[np.isfinite(actions["seconds"])]
    seconds = timed["seconds"]
    if len(timed) < len(actions):
        lines.append(f"{len(actions) - len(timed)} labels without times")
    if (seconds <= 0).any():
        lines.append(f"{(seconds <= 0).sum()} actions without length, or that end before they begin")
    if len(timed):
        lengths = f"{len(timed)} actions of {seconds.min():.2f} to {seconds.max():.2f} s"
        size = f"has {window}" if window else "is the whole recording"
        lines.append(f"{lengths}; the longest takes {timed['frames'].max():.0f} frames, a window {size}")
    return "\n".join([*lines, f"{len(classes)} classes:", *_table(classes, subsets, actions, window)])


def _table(classes, subsets, actions, window):
    """Lines, one a class: how many actions each subset has, their lengths, how many exceed a window."""
    rows = [["class"], *([name] for name in classes)]
    for subset in subsets:
        rows[0] += [subset, "seconds", *(["> window"] if window else [])]
        for k, row in enumerate(rows[1:]):
            own = actions[(actions["subset"] == subset) & (actions["label"] == k)]
            seconds = own["seconds"][np.isfinite(own["seconds"])]
            row += [str(len(own)), f"{seconds.min():.2f} to {seconds.max():.2f}" if len(seconds) else "-"]
            row += [str((own["frames"] > window).sum())] if window else []
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
