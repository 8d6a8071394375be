"""Lanes: segments that overlap, one below the other."""

import bisect


def lanes(segments, scores):
    """Puts each segment on a lane, so that no two overlap on one.

    The segments choose in turn, the one of highest score first, and of equal scores the first of the list.
    Each takes the first lane where it overlaps none. Segments that only touch do not overlap.

    Args:
      segments: N pairs (start, end) in one unit of time.
      scores: N numbers.

    Returns:
      List of N int, the lane of each segment, from 0.
    """
    chosen, on_lanes = [0] * len(segments), []
    for i in sorted(range(len(segments)), key=lambda i: -scores[i]):
        segment = tuple(segments[i])
        free = (lane for lane, taken in enumerate(on_lanes) if _is_free(taken, segment))
        chosen[i] = next(free, len(on_lanes))
        if chosen[i] == len(on_lanes):
            on_lanes.append([])
        bisect.insort(on_lanes[chosen[i]], segment)
    return chosen


def _is_free(taken, segment):
    """Whether a segment overlaps none of `taken`, which do not overlap and are in the order of time."""
    i = bisect.bisect(taken, segment)
    after_last = i == 0 or taken[i - 1][1] <= segment[0]
    return after_last and (i == len(taken) or segment[1] <= taken[i][0])
