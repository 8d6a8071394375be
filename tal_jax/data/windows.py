"""Windows of a long recording, and the labels inside them. Pure NumPy, on the host.

Positions are in frames (cells of the feature axis) of the recording, or of the window where said so.
"""

import functools
import math
from typing import NamedTuple

import numpy as np

from tal_jax.data import frames
from tal_jax.data.augment import augment_sequence
from tal_jax.data.signals import finite_rows, place_of_first_bad
from tal_jax.errors import DataError
from tal_jax.ops.snippets import window_snippets
from tal_jax.runtime_export import window_offsets


class Window(NamedTuple):
    """The part of a recording that a network sees at once.

    Attributes:
        offset: first feature.
        num_features: features in it; the rest of a longer window is padding.
        inputs: an array for the module, or a dict of its arguments.
        info: dict of arrays and numbers that the system needs again after the network.
    """

    offset: int
    num_features: int
    inputs: np.ndarray | dict
    info: dict


class Decoded(NamedTuple):
    """The outputs of a network for one window of a recording, on the host.

    Attributes:
        offset, num_features: see `Window`.
        arrays: those that the system's `decode` gives of the window, without B, and the window's `info`.
    """

    offset: int
    num_features: int
    arrays: dict


def of_recording(config, dataset, name):
    """For each test window of a recording a function that makes its Window, see `System.windows`.

    A module whose windows may be padded gets `num_frames`, the length of the recording in each, beside
    `inputs`.

    Raises:
        DataError: the recording has features that are not finite.
    """
    window = config.window
    for offset in window_offsets(len(dataset.read(name)), window.frames, window.test_stride_frames):
        yield functools.partial(_window, config, dataset, name, offset)


def require_no_gaps(config):
    """Raises DataError for test windows with frames between them that none would see."""
    size, stride = config.window.frames, config.window.test_stride_frames
    if stride > size:
        raise DataError(
            f"config.window.test_stride_frames is {stride} and config.window.frames {size}; no window would "
            f"see the frames between two. Set a stride of at most {size}."
        )


def _window(config, dataset, name, offset):
    """The test Window that begins at a frame. Raises DataError for features that are not finite."""
    made = window_inputs(config, dataset.read(name), offset)
    if not finite_rows(made["inputs"]).all():
        require_finite(config, dataset, name)
    inputs = made["inputs"] if config.window.get("snippets") else made
    return Window(offset, int(made["num_frames"]), inputs, {})


def require_finite(config, dataset, name):
    """Raises DataError for a recording with features that are not finite."""
    features = dataset.read(name)
    if not finite_rows(features).all():
        place = place_of_first_bad(features, config.data.samples_per_frame, config.data.statistics_samples)
        found = f"features that are NaN or beyond 1e15, the first in {place}"
        raise DataError(f"Recording '{name}' has {found}; correct the file.")


def cut_window(segments_frame, labels, offset, window, first_frame=0):
    """AFSD: the annotations of one window: those at least half inside, clipped.

    Args:
        segments_frame: (G, 2) float, frames of the recording. A segment without length is left out.
        labels: (G,) int.
        offset: first frame of the window.
        window: length in frames.
        first_frame: what the first frame of a window is called; 1 in the published loader.

    Returns:
        (segments, labels): (N, 2) float64 in frames of the window, within [first_frame, window]; (N,) of
        labels' dtype.
    """
    kept = _inside(segments_frame, offset, window, first_frame) >= 0.5
    segments = np.clip(np.asarray(segments_frame, np.float64)[kept] - offset, first_frame, window)
    return segments.reshape(-1, 2), np.asarray(labels)[kept]


def cover(segments_frame, num_frames):
    """Actions as features show them: those that they cover by at least half, clipped to them.

    Features whose snippet is longer than the stride do not reach to the ends of a recording. An action that
    begins before the first or ends after the last would be whole in no window.

    Args:
        segments_frame: (G, 2) float, frames of the recording.
        num_frames: length of the recording in frames.

    Returns:
        (G, 2) float64; an action that is covered by less than half stays as it is.
    """
    segments = np.asarray(segments_frame, np.float64).reshape(-1, 2)
    covered = _inside(segments, 0, num_frames, 0) >= 0.5
    return np.where(covered[:, None], np.clip(segments, 0, num_frames), segments)


def training_windows(segments_frame, labels, num_frames, *, window, stride, first_frame=0):
    """AFSD: the training windows of one recording, those of the grid that hold a whole annotation.

    Args:
        segments_frame: (G, 2) float, frames of the recording.
        labels: (G,) int.
        num_frames: length of the recording in frames.
        window: window length in frames.
        stride: step of the grid in frames.
        first_frame: see `cut_window`.

    Returns:
        list of (offset, segments, labels), the latter two as of `cut_window`.
    """
    return [
        (offset, *cut_window(segments_frame, labels, offset, window, first_frame))
        for offset in window_offsets(num_frames, window, stride)
        if (_inside(segments_frame, offset, window, first_frame) >= 1).any()
    ]


def background_offsets(intervals_frame, num_frames, *, window, stride):
    """First frames of the windows of the grid that hold no part of any interval.

    Args:
        intervals_frame: (N, 2) float, frames of the recording: its actions, and those that may be some.
        num_frames: length of the recording in frames.
        window: window length in frames.
        stride: step of the grid in frames.

    Returns:
        list of int.
    """
    start, end = np.sort(np.asarray(intervals_frame, np.float64).reshape(-1, 2), axis=1).T
    grid = window_offsets(num_frames, window, stride)
    return [offset for offset in grid if not ((start < offset + window) & (end > offset)).any()]


def shortest_action(segments_frame, num_frames, *, window, stride, first_frame=0):
    """AFSD: length in frames of the shortest clipped action; `window` if there is none.

    All windows of the grid count, kept for training or not.
    """
    shortest = float(window)
    for offset in window_offsets(num_frames, window, stride):
        segments, _ = cut_window(segments_frame, np.arange(len(segments_frame)), offset, window, first_frame)
        shortest = min(shortest, (segments[:, 1] - segments[:, 0]).min(initial=window))
    return shortest


def boundary_labels(segments, window):
    """AFSD Eq. 7: which frames of a window are starts and which are ends.

    A boundary of an action of d frames marks round(boundary -+ max(d/10, 2)/2), both ends included, within
    the window.

    Args:
        segments: (N, 2) float, frames of the window.
        window: length L in frames.

    Returns:
        (2, L) float32 of 0 and 1: row 0 starts, row 1 ends.
    """
    frame_labels = np.zeros((2, window), np.float32)
    for segment in np.asarray(segments, np.float64):
        width = max((segment[1] - segment[0]) / 10, 2)
        for row, boundary in enumerate(segment):
            first, last = (min(max(round(boundary + side * width / 2), 0), window - 1) for side in (-1, 1))
            frame_labels[row, first : last + 1] = 1
    return frame_labels


def window_inputs(config, recording, offset, rng=None, num_frames=None):
    """The inputs of the network for one window, of training or testing.

    Args:
        config: the run's config (`data`, `window`, `augment`). With `window.snippets`, T of them stand for
            the features, see `snippets.window_snippets`.
        recording: (T, C) features or (T, H, W, C) uint8 frames.
        offset: first frame.
        rng: np.random.Generator for training, which augments; None: not.
        num_frames: how many frames from `offset` on are used; None: as many as the window and the recording
            have.

    Returns:
        dict of `inputs`, (window, C) float32 padded with zeros at the end, or (T, C) without padding, or a
        clip (see `frames.cut_clip`), and `num_frames` () int32, those that are not padding.
    """
    data, size = config.data, config.window.frames or len(recording)
    num_frames = np.int32(min(len(recording) - offset, size) if num_frames is None else num_frames)
    recording = recording[: offset + num_frames]
    if data.input != "features":
        crop, padding = data.crop_pixels, frames.GREY
        view = frames.centre_view(recording.shape, crop)
        if rng is not None:
            view = frames.random_view(recording.shape, crop, config.augment.get("flip", 0.0), rng)
            padding = data.train_padding
        inputs = frames.cut_clip(recording, offset, size, crop, view, padding)
        return dict(inputs=inputs, num_frames=num_frames)
    inputs, snippets = recording[offset : offset + size], config.window.get("snippets")
    inputs = window_snippets(config.window, inputs, rng) if snippets else np.asarray(inputs, np.float32)
    if rng is not None:
        a = config.augment
        inputs = augment_sequence(inputs, rng, scale=a.scale, noise=a.noise, rotation_deg=a.rotation_deg)
    if not snippets:  # padding is zero, augmented or not
        inputs = np.pad(inputs, ((0, size - num_frames), (0, 0)))
    return dict(inputs=inputs, num_frames=num_frames)


def _inside(segments_frame, offset, window, first_frame):
    """(G,) share of each segment that lies in the window; negative if apart, -inf without length."""
    start, end = np.asarray(segments_frame, np.float64).reshape(-1, 2).T
    length = end - start
    overlap = np.minimum(end, offset + window) - np.maximum(start, offset + first_frame)
    return np.divide(overlap, length, out=np.full_like(length, -math.inf), where=length > 0)
