"""What AFSD trains on: windows of recordings with their annotations, laid out in arrays of fixed shape."""

import dataclasses

import numpy as np

from tal_jax.data import windows
from tal_jax.data.annotations import require_times
from tal_jax.errors import DataError
from tal_jax.systems.afsd import contrastive


@dataclasses.dataclass(frozen=True)
class Window:
    """One training window of one recording."""

    name: str
    offset: int  # first frame
    num_frames: int  # of the recording


def training_examples(config, dataset):
    """The training windows and the function that makes an example of one.

    Args:
      config: the run's config (`data`, `window`, `augment`, `loss.contrastive_weight`).
      dataset: data.features.Dataset; its training subset is used.

    Returns:
      (items, make_example): a list of Window, and (Window, np.random.Generator) -> example, a dict of
        inputs, num_frames: see `windows.window_inputs`;
        segments_frame (G, 2) float32 and labels (G,) int32 in 1..K, 0 for padding rows;
        boundary_labels (2, window) float32: start and end frames;
        frame_map (window,) int32, proposals_frame (3, 2) float32, rearranged () float32: the rearranged clip of boundary
        contrastive learning (only if its loss has a weight).

    Raises:
      DataError: no window of the training subset holds an annotation.
    """
    recordings = dataset.annotations.subset(config.data.train_subset).recordings
    require_times(recordings, f"training {config.system}")
    size, stride = config.window.frames, config.window.train_stride_frames
    items, truths, shortest = [], {}, {}
    for name, recording in recordings.items():
        num_frames = len(dataset.read(name))
        segments = dataset.timeline(name).to_cells(recording.segments_sec)
        if num_frames <= size:  # one window, in which an action that is annotated to a little behind the last frame is whole too
            segments = np.clip(segments, 0, num_frames)
        truths[name] = segments, recording.labels + 1
        grid = dict(window=size, stride=stride, first_frame=config.window.first_frame)
        shortest[name] = windows.shortest_action(segments, num_frames, **grid)
        for offset, _, _ in windows.training_windows(*truths[name], num_frames, **grid):
            items.append(Window(name, offset, num_frames))
    if not items:
        raise DataError(
            f"No training window of {size} frames holds a whole annotation of the subset '{config.data.train_subset}'; "
            "enlarge config.window.frames or check the annotations with --mode=check_data."
        )
    max_segments = max(len(labels) for _, labels in truths.values())

    def make_example(item, rng):
        offset = jittered_offset(item, config.augment.jitter_frames, size, rng)
        segments, labels = windows.cut_window(*truths[item.name], offset, size, config.window.first_frame)
        example = windows.window_inputs(config, dataset.read(item.name), offset, rng)
        example["segments_frame"] = np.zeros((max_segments, 2), np.float32)
        example["segments_frame"][: len(segments)] = segments
        example["labels"] = np.zeros(max_segments, np.int32)
        example["labels"][: len(labels)] = labels
        example["boundary_labels"] = windows.boundary_labels(segments, size)
        if config.loss.contrastive_weight:
            activitynet = config.loss.contrastive_rule == "activitynet"
            block = contrastive.min_action_length(shortest[item.name], activitynet)
            new_clip = contrastive.rearrange(segments, block, size, rng, activitynet)
            example["frame_map"] = new_clip["frame_map"]
            example["proposals_frame"] = new_clip["proposals"]
            example["rearranged"] = np.float32(new_clip["valid"])
        return example

    return items, make_example


def jittered_offset(item, jitter, size, rng):
    """The window's offset moved by up to `jitter` frames either way, within the recording."""
    if not jitter:
        return item.offset
    return int(np.clip(item.offset + rng.integers(-jitter, jitter + 1), 0, max(item.num_frames - size, 0)))
