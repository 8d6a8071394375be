"""AFSD boundary contrastive learning: the split-and-fill rearrangement of a window. NumPy, on the host.

An action is split in two and the hole is filled with background from elsewhere in the window, so that the
network sees the same action with two boundaries more.
"""

import math

import numpy as np


def min_action_length(shortest_action_frames, activitynet=False):
    """AFSD: th, the shortest stretch in frames that is split off, from `windows.shortest_action` of the
    recording.
    """
    return math.floor(shortest_action_frames) // 4 if activitynet else math.ceil(shortest_action_frames)


def rearrange(segments, min_action_length, window, rng, activitynet=False):
    """AFSD: splits a random action of the window at a random frame and fills the hole with a random stretch
    of background.

    Args:
        segments: (N, 2) float, the actions of the window in frames.
        min_action_length: th, int, frames of the stretch.
        window: length L in frames.
        rng: np.random.Generator.
        activitynet: True: an action of exactly 2*th may be split too, as the published ActivityNet loader
            does.

    Returns:
        dict of `frame_map` (L,) int32, frame j of the new window is frame frame_map[j] of the old;
        `proposals` (3, 2) float32, in frames of the new window: first part of the action, second part,
        background between; `valid` bool, False where no action is long enough or no gap holds the stretch:
        the map is the identity, the proposals 0.
    """
    segments = np.asarray(segments, np.float64).reshape(-1, 2)
    length = segments[:, 1] - segments[:, 0]
    long_enough = length >= 2 * min_action_length if activitynet else length > 2 * min_action_length
    gaps = background_gaps(segments, min_action_length, window)
    if not long_enough.any() or not len(gaps):
        unmoved, nothing = np.arange(window, dtype=np.int32), np.zeros((3, 2), np.float32)
        return dict(frame_map=unmoved, proposals=nothing, valid=False)
    start, end = rng.choice(segments[long_enough])
    # An action of exactly 2*th leaves one frame to split at.
    last = max(math.ceil(end - start - min_action_length) - 1, min_action_length)
    split_frame = math.ceil(start) + rng.integers(min_action_length, last, endpoint=True)
    gap_start, gap_end = rng.choice(gaps)
    room = math.floor(gap_end) - math.ceil(gap_start) - min_action_length
    background_frame = math.ceil(gap_start) + rng.integers(room)
    return split_and_fill((start, end), split_frame, background_frame, min_action_length, window)


def background_gaps(segments, min_action_length, window):
    """AFSD: the gaps between neighbouring boundaries that hold more than th whole frames and are not an
    action themselves.

    Args, Returns: segments (N, 2) float64; gaps (G, 2) float64, both in frames of the window.
    """
    boundaries = np.unique(np.concatenate([np.ravel(segments), [0, window - 1]]))
    actions = {(start, end) for start, end in segments}
    gaps = [
        (start, end)
        for start, end in zip(boundaries[:-1], boundaries[1:], strict=True)
        if (start, end) not in actions and math.floor(end) - math.ceil(start) > min_action_length
    ]
    return np.array(gaps, np.float64).reshape(-1, 2)


def split_and_fill(action, split_frame, background_frame, min_action_length, window):
    """AFSD: the rearrangement for given choices, the dict that `rearrange` returns.

    th frames from `background_frame` on move to `split_frame`; the frames between shift by th. If the
    background lies after the action, the second part of the action moves later, else its first part moves
    earlier. All numbers are frames of the window.
    """
    start, end = action
    split, background, block = int(split_frame), int(background_frame), int(min_action_length)
    if end < background:
        moved, shift = slice(split, background + block), block
        proposals = [(start, split), (split + block, end + block), (split + 1, split + block - 1)]
    else:
        moved, shift = slice(background, split), -block
        proposals = [(start - block, split - block), (split, end), (split - block + 1, split - 1)]
    frame_map = np.arange(window, dtype=np.int32)
    frame_map[moved] = np.roll(frame_map[moved], shift)
    return dict(frame_map=frame_map, proposals=np.array(proposals, np.float32), valid=True)
