"""Segments and the cuts of a film: NumPy functions on seconds. A cut is the time at which a new shot begins.

A cut at the very start or end of a segment lies not inside it.
"""

import numpy as np


def straddles(segments_sec, cuts_sec):
    """Which segments have a cut inside: (N, 2), (M,) ascending -> (N,) bool."""
    first, last = _inside(segments_sec, cuts_sec)
    return last > first


def split_at_cuts(segments_sec, cuts_sec):
    """The pieces of segments within one shot each.

    Args:
      segments_sec: (N, 2) start and end.
      cuts_sec: (M,) ascending.

    Returns:
      (pieces_sec (P, 2) float64, source (P,) int64: the segment of each piece), P >= N, in the order of the
      segments and of time.
    """
    segments_sec, cuts_sec = np.asarray(segments_sec, float).reshape(-1, 2), np.asarray(cuts_sec, float)
    pieces, source = [], []
    for number, ((start, end), first, last) in enumerate(zip(segments_sec, *_inside(segments_sec, cuts_sec))):
        ends = [start, *cuts_sec[first:last], end]
        pieces += zip(ends[:-1], ends[1:])
        source += [number] * (last - first + 1)
    return np.array(pieces, float).reshape(-1, 2), np.array(source, np.int64)


def longest_pieces(segments_sec, cuts_sec):
    """Each segment cut down to its longest piece within one shot; of equal ones the first. (N, 2) float64."""
    pieces, source = split_at_cuts(segments_sec, cuts_sec)
    order = np.lexsort((np.arange(len(pieces)), -(pieces[:, 1] - pieces[:, 0]), source))
    return pieces[order[np.searchsorted(source, np.arange(source.max(initial=-1) + 1))]]


def _inside(segments_sec, cuts_sec):
    """(first, after the last) index (N,) of the cuts strictly inside each segment; equal where none is."""
    segments_sec, cuts_sec = np.asarray(segments_sec, float).reshape(-1, 2), np.asarray(cuts_sec, float)
    first = np.searchsorted(cuts_sec, segments_sec[:, 0], side="right")
    return first, np.maximum(np.searchsorted(cuts_sec, segments_sec[:, 1], side="left"), first)
