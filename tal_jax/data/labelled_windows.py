"""Training windows of recordings whose actions have times: some with a whole action, some without any."""

import dataclasses
import logging
from typing import NamedTuple

import numpy as np

from tal_jax.data import windows
from tal_jax.data.annotations import require_times
from tal_jax.data.learnable import class_problems, no_window_sentence
from tal_jax.errors import DataError

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Item:
    """One training window of one recording."""

    name: str
    offset: int  # first frame
    num_frames: int  # of the recording


BACKGROUND = Item("", 0, 0)  # stands for a window without action, which is drawn again for each example


class Labelled(NamedTuple):
    """The training windows of a data set, and what they were cut from.

    Attributes:
        items: list of Item, those that hold a whole action.
        backgrounds: list of Item, those that hold no part of any.
        truths: {recording: (segments (G, 2) in frames, labels (G,) in 1..K)}.
        num_frames: {recording: its length in frames}.
        seen: the classes, 0-based, of which one of `items` holds an action by at least half.
    """

    items: list
    backgrounds: list
    truths: dict
    num_frames: dict
    seen: set


def problems(config, dataset):
    """Sentences on the classes that training does not learn, for `System.problems`.

    Raises:
        DataError: no window of the training subset holds a whole action.
    """
    return class_problems(config, dataset, find(config, dataset))


def find(config, dataset):
    """The training windows of a data set.

    Args:
        config: the run's config (`data`, `window`).
        dataset: data.features.Dataset; its training subset is used.

    Returns:
        Labelled.

    Raises:
        DataError: no window of the training subset holds a whole action.
    """
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    require_times(recordings, f"training {config.system}")
    grid = window_grid(config)
    found = Labelled([], [], {}, {}, set())
    for name, recording in recordings.items():
        num_frames = len(dataset.read(name))
        segments = dataset.timeline(name).to_cells(recording.segments_sec)
        if config.data.input == "features":
            segments = windows.cover(segments, num_frames)
        elif num_frames <= config.window.frames:  # as published, only in a recording of one window
            segments = np.clip(segments, 0, num_frames)
        found.truths[name], found.num_frames[name] = (segments, recording.labels + 1), num_frames
        for offset, _, labels in windows.training_windows(segments, recording.labels, num_frames, **grid):
            found.items.append(Item(name, offset, num_frames))
            found.seen.update(labels.tolist())
        # An interval with an ignored label may hold an action, so no background is taken from it.
        intervals = np.concatenate([segments, dataset.timeline(name).to_cells(recording.ignored_sec)])
        free = windows.background_offsets(intervals, num_frames, window=grid["window"], stride=grid["stride"])
        found.backgrounds.extend(Item(name, offset, num_frames) for offset in free)
    if not found.items:
        raise DataError(no_window_sentence(config, dataset, found.truths))
    return found


def window_grid(config):
    """The keywords `window`, `stride` and `first_frame` of `windows.training_windows`, all in frames."""
    window, first_frame = config.window, config.window.get("first_frame", 0)
    return dict(window=window.frames, stride=window.train_stride_frames, first_frame=first_frame)


def examples(config, dataset, found=None, more=None):
    """The training windows and the function that makes an example of one, for `System.examples`.

    Args:
        config: the run's config (`data`, `window`, `augment`).
        dataset: data.features.Dataset.
        found: Labelled; None: that of `find`.
        more: (recording name, first frame, segments (N, 2) float64 in frames of the window, how many frames
            it has of the recording, np.random.Generator) -> dict of further arrays of an example; None: no
            others.

    Returns:
        (items, make_example): a list of Item, those with a whole action first, then `BACKGROUND` so often
        that it is the share `window.background` of all, but at most as often as windows lack any action; and
        (Item, np.random.Generator) -> example, a dict of
        inputs, num_frames: see `windows.window_inputs`;
        segments_frame (G, 2) float32 and labels (G,) int32 in 1..K, 0 for padding rows.

    Raises:
        DataError: no window of the training subset holds a whole action.
    """
    found = found or find(config, dataset)
    size, truths, backgrounds = config.window.frames, found.truths, found.backgrounds
    for sentence in class_problems(config, dataset, found):
        log.warning(sentence)
    share = config.window.background
    count = min(round(share / (1 - share) * len(found.items)), len(backgrounds))
    max_segments = max(len(labels) for _, labels in truths.values())
    first_frame = config.window.get("first_frame", 0)

    def make_example(item, rng):
        jitter = config.augment.jitter_frames
        if item == BACKGROUND:
            item, jitter = backgrounds[rng.integers(len(backgrounds))], 0
        offset = item.offset
        if jitter:
            moved = offset + rng.integers(-jitter, jitter + 1)
            offset = int(np.clip(moved, 0, max(item.num_frames - size, 0)))
        num_frames = min(item.num_frames - offset, size)
        if config.augment.crop and rng.random() < config.augment.crop:
            offset, num_frames = random_crop(truths[item.name][0], offset, num_frames, rng)
        segments, labels = windows.cut_window(*truths[item.name], offset, num_frames, first_frame)
        example = windows.window_inputs(config, dataset.read(item.name), offset, rng, num_frames)
        missing = max_segments - len(labels)
        example["segments_frame"] = np.pad(segments.astype(np.float32), ((0, missing), (0, 0)))
        example["labels"] = np.pad(labels.astype(np.int32), (0, missing))
        return example | (more(item.name, offset, segments, num_frames, rng) if more else {})

    return found.items + [BACKGROUND] * count, make_example


def random_crop(segments_frame, offset, num_frames, rng):
    """A part of a window that holds a whole action: what a short recording looks like.

    The action is drawn first, then the length of the part, then its place.

    Args:
        segments_frame: (G, 2) float, actions in frames of the recording.
        offset, num_frames: the window's first frame, and how many it has of the recording.
        rng: np.random.Generator.

    Returns:
        (offset, num_frames) of the part; those of the window where it holds no whole action.
    """
    first, last = np.floor(segments_frame[:, 0]).astype(int), np.ceil(segments_frame[:, 1]).astype(int)
    whole = np.flatnonzero((first >= offset) & (last <= offset + num_frames) & (first < last))
    if not len(whole):
        return offset, num_frames
    chosen = rng.choice(whole)
    length = int(rng.integers(last[chosen] - first[chosen], num_frames, endpoint=True))
    earliest, latest = max(offset, last[chosen] - length), min(first[chosen], offset + num_frames - length)
    return int(rng.integers(earliest, latest, endpoint=True)), length
