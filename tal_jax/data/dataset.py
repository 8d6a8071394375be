"""The `Dataset` that every system trains on, the rate of all its recordings, and notes on its files."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tal_jax.data.annotations import Annotations
from tal_jax.data.timeline import Timeline

OTHER_RATE = 1.3  # from which two rates are not one; videos of 24 and of 30 frames a second are near enough


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Recordings, their annotations and their features.

    Attributes:
        annotations: the recordings of the training and test subsets whose features are there.
        read: recording name -> (T, C) float array, or frames (T, H, W, C) uint8, perhaps a read-only memory
            map; not to be changed, for the last `features.KEPT_RECORDINGS` are kept. Raises DataError for a
            bad file.
        timeline: recording name -> Timeline of its T features. Raises DataError for one without a frame rate.
        missing: names of the recordings whose features are not there (only under `allow_missing`).
        proposals: recording name -> proposals.Proposals, for systems that start from these; else None.
        recording_scores: for these systems, recording name -> (K,) class scores of
            `config.evaluate.recording_scores`; else None.
        seen_sec: recording name -> seconds that its file lasts, with the samples that folding drops and the
            row that the longer of two streams has more; None: those of its T features.
        frame_sec: recording name -> seconds from one of its features to the next, as its annotation, the
            config or its file says; 0 for features that are spread evenly over a recording, and for frames,
            which may be.
        notes: recording name -> notes on its file by kind: what was left out or resampled, see
            `tables.FeatureFile`.
        channels: recording name -> names of the channels in its file, which are read; () where it has none.
    """

    annotations: Annotations
    read: Callable[[str], np.ndarray]
    timeline: Callable[[str], Timeline]
    missing: tuple[str, ...] = ()
    proposals: dict | None = None
    recording_scores: dict | None = None
    seen_sec: Callable[[str], float] | None = None
    frame_sec: Callable[[str], float] = lambda name: 0.0
    notes: Callable[[str], dict] = lambda name: {}
    channels: Callable[[str], tuple] = lambda name: ()

    def duration_sec(self, name):
        """Length of a recording in seconds: as annotated, or else as its features see it, which are read."""
        seen_sec = self.seen_sec or (lambda name: self.timeline(name).seen_sec(len(self.read(name))))
        return self.annotations.recordings[name].duration_sec or seen_sec(name)


def common_frame_sec(dataset, names):
    """(seconds, problem): how long a frame lasts in these recordings, see `Dataset.frame_sec`.

    Seconds are the median, or None where the recordings do not agree or nothing says. The problem is a
    sentence, "" where they agree.
    """
    lasts = {name: dataset.frame_sec(name) for name in names}
    lasts = {name: frame_sec for name, frame_sec in lasts.items() if frame_sec}
    if not lasts:
        return None, ""
    short, long = min(lasts, key=lasts.get), max(lasts, key=lasts.get)
    if lasts[long] < OTHER_RATE * lasts[short]:
        return float(np.median([*lasts.values()])), ""
    found = f"{lasts[short]:.4g} s in recording '{short}' and {lasts[long]:.4g} s in recording '{long}'"
    return None, f"A frame lasts {found}; resample the files to one rate, for a network counts frames."


def common_channels(dataset, names):
    """The names of the channels, in the order in which these recordings are read.

    () where a file has no names, where two files have different names, and where a name comes twice.
    """
    orders = [dataset.channels(name) for name in names]
    same = len({frozenset(order) for order in orders}) == 1
    return orders[0] if same and len({*orders[0]}) == len(orders[0]) else ()


def file_notes(dataset, constant):
    """Sentences about feature files: what was left out or resampled, which channels never change.

    Args:
        dataset: Dataset.
        constant: name of each recording that can be read -> `signals.constant_channels` of its features.

    Returns:
        list of sentences; those that do no harm begin with "Note:".
    """
    kinds = {}
    for name in constant:
        for kind, note in dataset.notes(name).items():
            kinds.setdefault(kind, []).append(f"Note: recording '{name}' {note}.")
    sentences = []
    for first, *others in kinds.values():
        sentences.append(first + (f" {len(others)} more have such notes." if others else ""))
    still = [name for name, (channels, count) in constant.items() if len(channels) == count]
    if still:
        first = f"the first is '{still[0]}'"
        return [*sentences, f"{len(still)} recordings have no channel that ever changes; {first}."]
    everywhere = set.intersection(*({*channels} for channels, _ in constant.values())) if constant else set()
    if everywhere:
        listed = ", ".join(map(str, sorted(everywhere)))
        sentences.append(f"Note: these channels, counted from 1, never change in any recording: {listed}.")
    some = {name: [c for c in channels if c not in everywhere] for name, (channels, _) in constant.items()}
    some = [(name, ", ".join(map(str, channels))) for name, channels in some.items() if channels]
    if some:
        first = f"the first is '{some[0][0]}', channels {some[0][1]}"
        sentences.append(f"Note: {len(some)} recordings have channels that never change; {first}.")
    return sentences
