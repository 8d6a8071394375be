"""What AFSD trains on: labelled windows, with their boundaries marked and each of them rearranged."""

import numpy as np

from tal_jax.data import labelled_windows, windows
from tal_jax.systems.afsd import contrastive
from tal_jax.systems.afsd.config import reading


def training_examples(config, dataset):
    """The training windows and the function that makes an example of one.

    Args:
      config: the run's config (`data`, `window`, `augment`, `loss.contrastive_weight`).
      dataset: data.features.Dataset; its training subset is used.

    Returns:
      (items, make_example): see `labelled_windows.examples`. An example also has
        boundary_labels (2, window) float32: start and end frames;
        frame_map (window,) int32, proposals_frame (3, 2) float32, rearranged () float32: the rearranged
        window of boundary contrastive learning, see `contrastive.rearrange`, if its loss has a weight.

    Raises:
      DataError: no window of the training subset holds a whole action.
    """
    found, size = labelled_windows.find(config, dataset), config.window.frames
    grid = labelled_windows.window_grid(config)
    shortest = {
        name: windows.shortest_action(segments, found.num_frames[name], **grid)
        for name, (segments, _) in found.truths.items()
    }

    def more(name, offset, segments, num_frames, rng):
        del offset
        # As published, boundaries are marked in the padding too, and background may come from there. A masked
        # network does not see it.
        length = num_frames if reading(config, "padding_mask") else size
        added = {"boundary_labels": np.zeros((2, size), np.float32)}
        added["boundary_labels"][:, :length] = windows.boundary_labels(segments, length)
        if config.loss.contrastive_weight:
            activitynet = reading(config, "contrastive_rule") == "activitynet"
            block = contrastive.min_action_length(shortest[name], activitynet)
            new = contrastive.rearrange(segments, block, length, rng, activitynet)
            padding = np.arange(length, size, dtype=np.int32)
            added["frame_map"] = np.concatenate([new["frame_map"], padding])
            added |= {"proposals_frame": new["proposals"], "rearranged": np.float32(new["valid"])}
        return added

    return labelled_windows.examples(config, dataset, found, more)
