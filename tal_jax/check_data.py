"""--mode=check_data: reads a whole data set and says in sentences what is wrong with it."""

import collections
import contextlib
import dataclasses
import difflib
import logging
import re

import numpy as np

from tal_jax import data, evaluate, train
from tal_jax.data import check
from tal_jax.data.annotations import Annotations
from tal_jax.data.feature_files import SUFFIXES
from tal_jax.data.features import common_frame_sec, file_notes
from tal_jax.data.proposals import read_proposals
from tal_jax.data.signals import constant_channels
from tal_jax.errors import DataError
from tal_jax.published import i3d as published
from tal_jax.runtime.files import list_files
from tal_jax.systems import SYSTEMS, require_valid

SHORTEST_FRAMES = 0.1  # of an action that its frames may show
BETWEEN_LETTERS = re.compile(r"(?<=[^\W\d_])[\s_-]+(?=[^\W\d_])")


def check_dataset(config):
    """Reads a whole data set, every feature file of it; says what training would refuse, and not learn.

    Returns:
        (summary, problems): a text of a few lines and a table of the classes that says what there is; what
        is wrong with it, one sentence each, of which those that begin with "Note:" do no harm. Missing
        features of some recordings are problems whatever `config.data.allow_missing` says.

    Raises:
        DataError: the data set as a whole cannot be read: no annotation file, an unknown label, no feature
            file at all.
    """
    invalid = _config_problems(config)
    config = config.copy_and_resolve_references()
    config.data.allow_missing = True
    path = config.get("proposals")
    if path:
        config.proposals = ""  # they are read below
    with _quiet():
        dataset, annotations = data.load_dataset(config), data.dataset_annotations(config)
    left_out = list_files(config.data.features, SUFFIXES)[1] if config.data.features else ""
    problems = invalid + ([f"Note: {left_out}"] if left_out else [])
    problems += annotations.absent_ignored(config.data.ignored_labels)
    problems += _subset_problems(config, dataset, annotations) + _class_problems(config, dataset)
    with _quiet():
        shapes, found = _read_all(config, dataset)
    problems += found + [*filter(None, common_frame_sec(dataset, shapes)[1:])]
    unit_problem = check.unit_problem(dataset, shapes)
    problems += _short_problems(dataset, shapes)
    summary = _summary(config, dataset, annotations, shapes)
    if unit_problem:  # what would be learnt of such times is of no use
        return summary, [*problems, unit_problem]
    readable = {name: dataset.annotations.recordings[name] for name in shapes}
    readable = dataclasses.replace(dataset, annotations=Annotations(dataset.annotations.classes, readable))
    try:
        if path:
            proposals, report = read_proposals(path, dataset.annotations)
            summary += f"\n{path}: {report}"
            scores = data.recording_scores(config, dataset.annotations.classes)
            readable = dataclasses.replace(readable, proposals=proposals, recording_scores=scores)
        problems += _scoring_problems(config, readable)
        return summary, problems + ([] if invalid else _learning_problems(config, readable))
    except DataError as error:
        return summary, [*problems, str(error)]


def _config_problems(config):
    """What a training would refuse before it reads any data, in the config or in that of its first stage."""

    def require_trainable():
        require_valid(config, training=True)
        for part in (config, config.get("first_stage")):
            if part:
                part = part.copy_and_resolve_references()
                part.parallel.update(config.parallel)
                train.devices_of(part)
                published.require_backbone(part.train.get("backbone_weights", ""))

    return _problem(require_trainable)


def _scoring_problems(config, dataset):
    """What the evaluation at the end of a training would refuse, as said before its first step."""
    if not _counts(dataset.annotations, config.data.test_subset).any():
        return []  # which is told already
    names = evaluate.test_recordings(config, dataset)
    with _quiet():
        return _problem(lambda: evaluate.scored_annotations(config, dataset, names))


def _problem(require):
    """The sentence of the DataError that a function raises, in a list; an empty list if it raises none."""
    try:
        require()
    except DataError as error:
        return [str(error)]
    return []


def _subset_problems(config, dataset, annotations):
    """Subsets that nothing can be learnt from, or scored against."""
    recordings, settings = dataset.annotations.recordings, config.data
    subsets = {recording.subset for recording in recordings.values()}
    problems = [
        f"No recording with features has the subset '{settings[field]}' of config.data.{field}; the "
        "annotations have "
        f"{annotations.subset_names()}."
        for field in ("train_subset", "test_subset", "clips_subset")
        if settings.get(field) and settings[field] not in subsets
    ]
    for subset, what in (
        (settings.train_subset, "annotation to learn from"),
        (settings.test_subset, "action to score against"),
    ):
        if subset in subsets and not _counts(dataset.annotations, subset).any():
            ignored = sum(
                len(recording.ignored_sec)
                for recording in dataset.annotations.subset(subset).recordings.values()
            )
            why = (
                f": all {ignored} have a label of config.data.ignored_labels; ignore fewer labels"
                if ignored
                else "; annotate them"
            )
            problems.append(f"No recording of the subset '{subset}' has an {what}{why}.")
    return problems


def _class_problems(config, dataset):
    """Classes that are one under several names, and those that are not in the training subset."""
    annotations, settings = dataset.annotations, config.data
    alike = {}
    for name in annotations.classes:
        alike.setdefault(_key(name), []).append(name)
    problems = [
        f"The {len(names)} classes {', '.join(map(repr, names))} differ in nothing but case, spaces, '_' and "
        "'-'; if they are one, "
        "call them alike in the annotations."
        for names in alike.values()
        if len(names) > 1
    ]
    train, test = (_counts(annotations, subset) for subset in (settings.train_subset, settings.test_subset))
    for name, in_train, in_test in zip(annotations.classes, train, test, strict=True):
        close = _close(name, annotations.classes)
        meant = f" '{close}' is a class too; if it is meant, correct the label." if close else ""
        if in_test and not in_train and train.any():
            problems.append(
                f"The class '{name}' has {in_test} annotation(s) in the subset '{settings.test_subset}' and "
                "none in "
                f"'{settings.train_subset}', so it is not learnt; annotate it there, or "
                f"{check.ignoring(config, name)}.{meant}"
            )
        elif close and in_train and not in_test:
            problems.append(
                f"Note: no annotation of the subset '{settings.test_subset}' has the class '{name}'.{meant}"
            )
        elif not in_train and not in_test:
            problems.append(f"Note: no annotation of the subsets used here has the class '{name}'.")
    return problems


def _key(label):
    """A label without what tells two spellings of one class apart: case, spaces, '_' and '-'."""
    return BETWEEN_LETTERS.sub("", label.strip().casefold())


def _close(label, classes):
    """The class that a label may be a misspelling of, by its letters; "" if there is none."""
    letters = {"".join(filter(str.isalpha, _key(name))): name for name in classes}
    own = "".join(filter(str.isalpha, _key(label)))
    found = difflib.get_close_matches(own, [other for other in letters if other != own], 1, cutoff=0.75)
    return letters[found[0]] if found else ""


def _counts(annotations, subset):
    """(K,) annotations of each class in a subset, which may have no recordings."""
    labels = [recording.labels for recording in annotations.recordings.values() if recording.subset == subset]
    return np.bincount(np.concatenate([np.zeros(0, int), *labels]), minlength=len(annotations.classes))


def _read_all(config, dataset):
    """The shape of each recording's features that can be read, and what is wrong with recordings."""
    what = "feature file" if config.data.input == "features" else "frames"
    problems = [f"Recording '{name}' has no {what}." for name in dataset.missing]
    shapes, constant = {}, {}
    for name, recording in dataset.annotations.recordings.items():
        try:
            features, timeline = dataset.read(name), dataset.timeline(name)
            shapes[name] = features.shape
            found = check.feature_problems(
                features, recording, timeline, config.data.samples_per_frame, config.data.statistics_samples
            )
            if config.data.input == "features":
                constant[name] = constant_channels(
                    features, config.data.samples_per_frame, config.data.statistics_samples
                )
                found += check.num_frames_problems(recording, len(features), timeline, config.data)
            duration_sec = dataset.duration_sec(name)
            found += check.recording_problems(
                recording, dataset.annotations.classes, 1 / timeline.fps, duration_sec
            )
            problems += [f"Recording '{name}' {sentence}" for sentence in found]
        except DataError as error:
            problems.append(str(error) if f"'{name}'" in str(error) else f"Recording '{name}': {error}")
        if not len(recording.labels):
            but = " but of labels in config.data.ignored_labels" if len(recording.ignored_sec) else ""
            problems.append(f"Note: recording '{name}' has no annotation{but}.")
    return shapes, problems + file_notes(dataset, constant)


def _short_problems(dataset, names):
    """Sentences on classes with actions so short that the frames of these recordings do not show them."""
    seconds, frames, labels = _lengths(dataset, names)
    problems = []
    for k, name in enumerate(dataset.annotations.classes):
        of_class = frames[(labels == k) & (seconds > 0)]
        short = of_class[of_class < SHORTEST_FRAMES]
        if len(short):
            note = "Note: " if len(short) < len(of_class) else ""
            problems.append(
                f"{note}{len(short)} of the {len(of_class)} actions of the class '{name}' are shorter than a "
                f"tenth of a frame, the shortest takes {short.min():.2g} frames; correct their times, or the "
                f"rate "
                "of the recordings."
            )
    return problems


def _learning_problems(config, dataset):
    """What the config's system, or its first stage without proposals, would not learn of the data set.

    Raises DataError for what would end its training.
    """
    with _quiet():
        if dataset.proposals is None and "first_stage" in config:
            config = config.first_stage.copy_and_resolve_references()
            config.data.allow_missing = True
            dataset = data.load_dataset(config)
        if not _counts(dataset.annotations, config.data.train_subset).any():
            return []  # which is told already
        SYSTEMS[config.system].examples(config, dataset)
        return SYSTEMS[config.system].problems(config, dataset)


@contextlib.contextmanager
def _quiet():
    """Keeps warnings off the terminal that are among the problems."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _summary(config, dataset, annotations, shapes):
    """What there is in the recordings that could be read, of `shapes` (T, C) or (T, H, W, C)."""
    classes, recordings = dataset.annotations.classes, dataset.annotations.recordings
    subsets = collections.Counter(recordings[name].subset for name in shapes)
    lines = [
        f"{len(shapes)} recordings ({', '.join(f'{count} {subset}' for subset, count in subsets.items())})"
    ]
    if shapes:
        hours = (
            sum(float(dataset.timeline(name).to_seconds(shape[0])) for name, shape in shapes.items()) / 3600
        )
        size = " x ".join(map(str, next(iter(shapes.values()))[1:]))
        lines[0] += (
            f", {hours:.2f} hours; {sum(shape[0] for shape in shapes.values())} frames of {size} values"
        )
    if annotations.unread:
        lines.append(f"Fields of the annotations that are not read: {', '.join(annotations.unread)}")
    ignored = dataset.annotations.count_ignored()
    if ignored:
        labels = ", ".join(config.data.ignored_labels)
        lines.append(f"{ignored} intervals with an ignored label (config.data.ignored_labels: {labels})")
    lengths = {
        subset: _lengths(dataset, [name for name in shapes if recordings[name].subset == subset])
        for subset in subsets
    }
    seconds, frames = (np.concatenate([np.zeros(0), *(of[i] for of in lengths.values())]) for i in (0, 1))
    timed = np.isfinite(seconds)
    if not timed.all():
        lines.append(f"{(~timed).sum()} labels without times")
    if (seconds[timed] <= 0).any():
        lines.append(f"{(seconds[timed] <= 0).sum()} actions without length, or that end before they begin")
    window = f"has {config.window.frames}" if config.window.frames else "is the whole recording"
    if timed.any():
        lines.append(
            f"{timed.sum()} actions of {seconds[timed].min():.2f} to {seconds[timed].max():.2f} s; the "
            "longest takes "
            f"{frames[timed].max():.0f} frames, a window {window}"
        )
    return "\n".join([*lines, f"{len(classes)} classes:", *_table(classes, lengths, config.window.frames)])


def _lengths(dataset, names):
    """(seconds, frames, class) of each action of some recordings, (N,) each."""
    recordings = dataset.annotations.recordings
    seconds = [np.diff(recordings[name].segments_sec)[:, 0] for name in names]
    frames = [np.diff(dataset.timeline(name).to_cells(recordings[name].segments_sec))[:, 0] for name in names]
    labels = [recordings[name].labels for name in names]
    return tuple(np.concatenate([np.zeros(0), *parts]) for parts in (seconds, frames, labels))


def _table(classes, lengths, window):
    """Lines, one a class: of each subset the actions, their lengths, and those beyond a window."""
    rows = [["class"]]
    for subset in lengths:
        rows[0] += [subset, "seconds", *(["> window"] if window else [])]
    for k, name in enumerate(classes):
        rows.append([name])
        for seconds, frames, labels in lengths.values():
            of_class = seconds[labels == k]
            timed = of_class[np.isfinite(of_class)]
            rows[-1] += [str(len(of_class)), f"{timed.min():.2f} to {timed.max():.2f}" if len(timed) else "-"]
            rows[-1] += [str((frames[labels == k] > window).sum())] if window else []
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
