"""Features of proposals from those of their video, on the host: the largest values over three stretches.

The rounding of frames to whole numbers is that of the published code.
"""

import numpy as np


def training_extents(segments, num_frames):
    """The frames that a proposal sees in training: its own, and half of its length on both sides.

    Args:
      segments: (N, 2) int frames; num_frames: of the video.

    Returns:
      (N, 4) int64 frames: start, end, extended start, extended end. Here a proposal begins one frame later
      than in its file.
    """
    start, end = np.asarray(segments, np.int64).reshape(-1, 2).T + [[1], [0]]
    half = (end - start + 1) // 2
    return np.stack([start, end, np.maximum(start - half, 1), np.minimum(end + half, num_frames)], axis=1)


def test_extents(segments, num_frames):
    """The frames that a proposal sees at test: its own, and half of its length on both sides.

    Times are shares of the video until they are cut down to whole frames, as published. Binary fractions can
    lose a frame: 29 frames of 100 may come back as 28.

    Args:
      segments: (N, 2) int frames; num_frames: of the video.

    Returns:
      (N, 4) int64 frames: start, end, extended start, extended end.
    """
    start, end = np.asarray(segments, np.float64).reshape(-1, 2).T / num_frames
    half = (end - start) * 0.5
    shares = np.stack([start, end, np.maximum(start - half, 0.0), np.minimum(end + half, 1.0)], axis=1)
    return (shares * num_frames).astype(np.int64)


def clip_rows(frames, num_rows, stride_frames=8, clip_frames=64):
    """Rows of a feature matrix for stretches of frames, where each row is the feature of a clip.

    Args:
      frames: (..., 2) int, first and last frame.
      num_rows: T.
      stride_frames: the clip of row i begins at frame i * stride_frames.
      clip_frames: length of a clip.

    Returns:
      (..., 2) int64 first and last row, both counted, within the matrix. A stretch shorter than a clip has
      one row.
    """
    first, last = np.moveaxis(np.asarray(frames, np.int64), -1, 0)
    return _rows(first // stride_frames, -((clip_frames - last) // stride_frames), num_rows)


def rescaled_rows(frames, num_rows, num_frames):
    """Rows of a feature matrix for stretches of frames, where T rows share the video (ActivityNet, T = 100).

    Args:
      frames: (..., 2) int, first and last frame.
      num_rows: T; num_frames: of the video.

    Returns:
      (..., 2) int64 first and last row, both counted, within the matrix.
    """
    first, last = np.moveaxis(np.asarray(frames, np.int64), -1, 0)
    return _rows(first * num_rows // num_frames, -(-(last + 1) * num_rows // num_frames), num_rows)


def _rows(first, last, num_rows):
    """Rows within a matrix: as published, only a stretch that begins at the last row ends there.

    first, last (...) -> (..., 2) int64.
    """
    first, last = np.minimum(first, num_rows - 1), np.minimum(last, num_rows - 2)
    return np.stack([first, np.maximum(first, last)], axis=-1).astype(np.int64)  # strides need not be whole


def three_parts(extents):
    """The stretch before a proposal, itself, and the stretch after it, in frames.

    extents (N, 4): start, end, extended start, extended end -> (N, 3, 2).
    """
    return np.asarray(extents)[:, [2, 0, 0, 1, 1, 3]].reshape(-1, 3, 2)


def interval_max(features, rows):
    """The largest value of each channel over intervals of rows.

    The table of level k holds the largest values of every 2^k successive rows; two of its entries cover any
    interval between 2^k and 2^(k+1) rows long. One level is kept at a time.

    Args:
      features: (T, C) float.
      rows: (M, 2) int, first and last row, both counted, within [0, T).

    Returns:
      (M, C) of the same dtype.
    """
    features, (first, last) = np.asarray(features), np.asarray(rows).reshape(-1, 2).T
    levels = np.frexp(last - first + 1)[1] - 1  # the largest k with 2^k <= length
    largest = np.empty((len(first), features.shape[1]), features.dtype)
    table, width = features, 1
    for level in range(levels.max(initial=-1) + 1):
        if level:
            table, width = np.maximum(table[:-width], table[width:]), 2 * width
        here = np.flatnonzero(levels == level)
        left = table[first[here]]
        largest[here] = np.maximum(left, table[last[here] - width + 1], out=left) if level else left
    return largest


def proposal_features(features, part_rows):
    """Extended features of proposals: the largest values over each of their three parts.

    Args:
      features: (T, C) float.
      part_rows: (N, 3, 2) rows of the parts, see `clip_rows`.

    Returns:
      (N, 3C); the middle third is the inner feature.
    """
    return interval_max(features, part_rows).reshape(len(part_rows), 3 * features.shape[1])
