"""Two streams of a recording, RGB and optical flow, cut to one length: flow is often a frame shorter."""

import dataclasses
import functools
import logging

import numpy as np

from tal_jax.errors import DataError

log = logging.getLogger(__name__)

MOST_ROWS_CUT, MOST_SHARE_CUT = 2, 0.01  # streams may differ in length by the larger of the two
_places_told = set()  # where streams were cut, each told once


def aligned(datasets, place):
    """The datasets of two streams of the same recordings, so that row i of both is of the same time.

    Both are read up to the end of the shorter. Both have the timeline of the longer, which lacks no row.
    Where features are spread evenly over a recording, the shorter stream would otherwise be stretched.

    Args:
        datasets: a Dataset of each stream. One alone stays as it is.
        place: where they are from, for messages.

    Returns:
        list of Dataset. `read` and `timeline` raise DataError for streams whose lengths differ too much (see
        `common_length`).
    """
    if len(datasets) == 1:
        return list(datasets)

    @functools.cache
    def shared(name):
        lengths = [len(dataset.read(name)) for dataset in datasets]
        return common_length(lengths, name, place), datasets[int(np.argmax(lengths))].timeline(name)

    def seen_sec(name):
        return max(dataset.duration_sec(name) for dataset in datasets)

    def cut(dataset):
        read, timeline = lambda name: dataset.read(name)[: shared(name)[0]], lambda name: shared(name)[1]
        return dataclasses.replace(dataset, read=read, timeline=timeline, seen_sec=seen_sec)

    return [cut(dataset) for dataset in datasets]


def common_length(lengths, name, place):
    """Rows that two streams of a recording have in common: all of the shorter.

    That streams are cut is logged once for each place.

    Args:
        lengths: rows of each stream.
        name: of the recording.
        place: where the streams are from.

    Raises:
        DataError: they differ by more than `MOST_ROWS_CUT` rows and more than `MOST_SHARE_CUT` of the longer.
    """
    shorter, longer = min(lengths), max(lengths)
    if longer - shorter > max(MOST_ROWS_CUT, MOST_SHARE_CUT * longer):
        raise DataError(
            f"The two streams of recording '{name}' in {place} have {lengths[0]} and {lengths[1]} rows, "
            "which is not one length; make both of the same video."
        )
    if longer > shorter and place not in _places_told:
        _places_told.add(place)
        log.warning(
            "The two streams of a recording in %s differ in length and are cut to the shorter; "
            "the first is '%s', %d and %d rows.",
            *(place, name, *lengths),
        )
    return shorter
