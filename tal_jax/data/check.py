"""Faults of recordings, of their annotations and features, as sentences for check_data and training."""

import collections

import numpy as np

from tal_jax.data.signals import finite_rows, place_of_first_bad
from tal_jax.ops.segments import tiou

NO_SECONDS = 5  # lengths of a recording; times of actions beyond are of another unit
END_SLACK_SEC = 1.0  # by which an action may pass the end of a recording whose rate of frames is not known
SAME_TIME_TIOU = 0.95  # from which two actions leave a detector no time at which to tell them apart


def feature_problems(features, recording, timeline, samples_per_frame=1, span=0):
    """Yields ends of sentences on features that are not finite, or whose number does not fit the duration.

    Args:
        features: (T, C), or frames (T, H, W, C).
        recording: Recording.
        timeline: Timeline of the features.
        samples_per_frame, span: see `signals.constant_channels`.
    """
    bad = int((~finite_rows(features)).sum()) if features.dtype.kind == "f" else 0
    if bad:
        what = "rows" if samples_per_frame == 1 and not span else "frames"
        first = place_of_first_bad(features, samples_per_frame, span)
        found = f"{bad} of {len(features)} {what}, the first is {first}"
        yield f"has features that are NaN or beyond 1e15 in {found}."
    if recording.duration_sec is None:
        return
    covered_sec, stride = float(timeline.to_seconds(len(features))), timeline.stride_frames
    slack_sec = 0.02 * recording.duration_sec + (2 * stride + timeline.snippet_frames) / timeline.fps
    if abs(covered_sec - recording.duration_sec) > slack_sec:
        axis = f"its {len(features)} features at {timeline.fps:g} fps and stride {stride:g}"
        covered = f"is {recording.duration_sec:.2f} s long as annotated, but {axis} cover {covered_sec:.2f} s"
        yield f"{covered}; correct the duration, the rate or the stride, or the file, which may be cut."


def unit_problem(dataset, names):
    """A sentence if the times annotated in these recordings cannot be seconds, or features are too few for
    the rate; or "".
    """
    times, within = [], []
    for name in names:
        recording = dataset.annotations.recordings[name]
        if np.isfinite(recording.segments_sec).any():
            last_sec = np.nanmax(recording.segments_sec)
            times.append(last_sec / dataset.timeline(name).seen_sec(len(dataset.read(name))))
            within.append(last_sec <= 1.02 * (recording.duration_sec or 0))
    if not times or np.median(times) < NO_SECONDS:
        return ""
    ends = f"ends at {np.median(times):.3g} times the recording's length, in the median"
    if all(within):
        ends = f"lies within its duration, but {ends} as its features are read"
        fewer = (
            "set --config.data.stride_frames to the frames from one feature to the next, or to 0 to spread"
        )
        return f"The last action of a recording {ends}; {fewer} them over the duration."
    what_to_do = "give the times of the annotations in seconds, neither in milliseconds nor in frames"
    return f"The last action of a recording {ends}; {what_to_do}."


def num_frames_problems(recording, num_features, timeline, data):
    """Yields the end of a sentence on a `num_frames` that the features contradict.

    It is not asked of prepared frames, which are at another rate.

    Args:
        recording: Recording.
        num_features: rows of its features, after folding.
        timeline: Timeline of these.
        data: the fields of `config.data`.
    """
    if recording.num_frames is None:
        return
    if data.stride_frames and (recording.fps or data.fps):
        covered = float(timeline.to_seconds(num_features)) * timeline.fps
        slack = 0.02 * recording.num_frames + 2 * timeline.stride_frames + timeline.snippet_frames
        wrong = abs(covered - recording.num_frames) > slack
    else:  # they are spread over the recording, but each is of a frame at least
        covered = num_features * data.samples_per_frame
        wrong = covered > 1.02 * recording.num_frames + data.samples_per_frame
    if wrong:
        annotated = f"has {recording.num_frames} frames as annotated (num_frames)"
        what_to_do = "correct the number, or config.data.stride_frames"
        yield f"{annotated}, but its features are of {covered:.0f}; {what_to_do}."


def same_time_problems(config, annotations):
    """Sentences on classes that a system of one class at a time does not learn, for another goes before them.

    Of two actions of other classes at the same time (tIoU of 0.95 or more) the shorter one is learnt, of
    equal ones the first.

    Args:
        config: the run's config.
        annotations: `Annotations` of the training subset.

    Returns:
        list of sentences, a class each; where only some of its actions are hidden the sentence begins with
        "Note:".
    """
    hidden, by, total = collections.Counter(), {}, collections.Counter()
    for recording in annotations.recordings.values():
        segments, labels = recording.segments_sec, recording.labels
        total.update(labels)
        length, order = np.diff(segments)[:, 0], np.arange(len(labels))
        first = (length < length[:, None]) | ((length == length[:, None]) & (order < order[:, None]))
        over = (tiou(segments[:, None], segments) >= SAME_TIME_TIOU) & (labels != labels[:, None]) & first
        for i in np.flatnonzero(over.any(axis=1)):
            hidden[labels[i]] += 1
            by[labels[i]] = labels[over[i].argmax()]
    problems = []
    for k, number in sorted(hidden.items()):
        name, other = annotations.classes[k], annotations.classes[by[k]]
        which = f"{number} of the {total[k]} training actions of the class '{name}'"
        when = f"take place at the same time as one of another class, such as '{other}'"
        why = f"{which} {when}, and {config.system} learns one class at a time"
        if number < total[k]:
            problems.append(f"Note: {why}.")
        else:
            what_to_do = f"join the two classes, or {ignoring(config, name)}"
            problems.append(f"{why}, so the class is not learnt; {what_to_do}.")
    return problems


def ignoring(config, *labels):
    """The words that say which field leaves labels out."""
    return f'set --config.data.ignored_labels="{(*config.data.ignored_labels, *labels)}"'


def annotation_problems(dataset):
    """Sentences on the times of a data set that is to be learnt.

    No features are read where durations are annotated and hold the actions. Else the timeline is needed,
    which some data sets make from the number of features (`timeline.make_timeline`).

    Raises:
        DataError: a recording has no timeline.
    """

    def slack_sec(recording):
        times_sec = np.concatenate([recording.segments_sec, recording.ignored_sec])
        within = recording.duration_sec is not None and not (times_sec > recording.duration_sec).any()
        return 0.0 if within else 1 / dataset.timeline(recording.name).fps

    return _problems(dataset.annotations, slack_sec)


def truth_problems(annotations):
    """Sentences on the times of `Annotations` alone; nothing else is read.

    An end may pass the annotated duration by `END_SLACK_SEC`; where no duration is annotated it may be
    anywhere.
    """
    return _problems(annotations, lambda recording: END_SLACK_SEC)


def _problems(annotations, slack_sec):
    """The `recording_problems` of all recordings. slack_sec: function of a Recording."""
    classes = annotations.classes
    return [
        f"Recording '{name}' {sentence}"
        for name, recording in annotations.recordings.items()
        for sentence in recording_problems(recording, classes, slack_sec(recording), recording.duration_sec)
    ]


def recording_problems(recording, classes, slack_sec, duration_sec):
    """Yields ends of sentences on segments that are reversed, outside the recording, or annotated twice.

    Args:
        recording: Recording.
        classes: K names.
        slack_sec: by which an end may pass the duration.
        duration_sec: None if ends are not to be checked.
    """
    seen = set()
    actions = zip(recording.labels, recording.segments_sec, strict=True)
    rows = [(f"'{classes[label]}'", *segment) for label, segment in actions]
    rows += [("an ignored label", *segment) for segment in recording.ignored_sec]
    for label, start_sec, end_sec in rows:
        if np.isnan(start_sec + end_sec):
            continue  # a label alone
        here = f"has {label} from {start_sec:g} s to {end_sec:g} s"
        if end_sec <= start_sec:
            yield f"{here}: the end is not after the start."
        if start_sec < 0:
            yield f"{here}: it begins before the recording."
        if duration_sec is not None and end_sec > duration_sec + slack_sec:
            yield f"{here}: it ends after the recording, which lasts {duration_sec:.2f} s."
        if (label, start_sec, end_sec) in seen:
            yield f"{here} more than once."
        seen.add((label, start_sec, end_sec))
