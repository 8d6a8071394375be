"""Two streams of a recording, RGB and optical flow, cut to one length: flow is often a frame shorter."""

import dataclasses
import functools
import logging

import numpy as np

from tal_jax.errors import DataError

log = logging.getLogger(__name__)

STREAMS = ("rgb", "flow")
MOST_ROWS_CUT, MOST_SHARE_CUT = 2, 0.01  # streams may differ in length by the larger of the two


def aligned(datasets, place):
    """The datasets of two streams of the same recordings, so that row i of both is of the same time.

    Both are read up to the end of the shorter. Both have the timeline of the longer, which lacks no row.
    Where features are spread evenly over a recording, the shorter stream would otherwise be stretched.
    The first recording that is cut is logged.

    Args:
        datasets: a Dataset of each stream. One alone stays as it is.
        place: where they are from, for messages.

    Returns:
        list of Dataset. `read` and `timeline` raise DataError for streams whose lengths differ too much (see
        `common_length`).
    """
    if len(datasets) == 1:
        return list(datasets)
    tell = told_once()

    @functools.cache
    def shared(name):
        lengths = [len(dataset.read(name)) for dataset in datasets]
        length = common_length(lengths, name, place)
        if lengths[0] != lengths[1]:
            tell("streams", f"{place}: recording '{name}' {cut_note(lengths)}.")
        return length, datasets[int(np.argmax(lengths))].timeline(name)

    def seen_sec(name):
        return max(dataset.duration_sec(name) for dataset in datasets)

    def cut(dataset):
        read, timeline = lambda name: dataset.read(name)[: shared(name)[0]], lambda name: shared(name)[1]
        return dataclasses.replace(dataset, read=read, timeline=timeline, seen_sec=seen_sec)

    return [cut(dataset) for dataset in datasets]


def told_once():
    """A function (kind, message) that logs the first message of each kind as a warning."""
    kinds = set()

    def tell(kind, message):
        if kind not in kinds:
            kinds.add(kind)
            log.warning("%s", message)

    return tell


def cut_note(lengths):
    """The end of a sentence about a recording whose two streams have so many rows: how they are cut."""
    rows = f"{lengths[0]} and {lengths[1]} rows"
    return f"has two streams that differ in length, {rows}; both are cut to the shorter"


def common_length(lengths, name, place):
    """Rows that two streams of a recording have in common: all of the shorter.

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
    return shorter


def chosen_stream(signal, stream, widths, where):
    """The channels of one stream.

    Args:
        signal: (T, C), both streams side by side, RGB first.
        stream: a name of STREAMS.
        widths: channels of each stream where the file names them; else both have half of C.
        where: the recording, for messages.

    Raises:
        DataError: the file holds one stream alone, or C is odd and the widths are not known.
    """
    if len(widths) == 1:
        found = f"leave config.data.stream empty, it is '{stream}'"
        raise DataError(f"{where} holds the stream rgb alone; {found}.")
    first, odd = (widths[0], 0) if widths else divmod(signal.shape[-1], 2)
    if odd:
        raise DataError(
            f"{where} has {signal.shape[-1]} channels, which are no two halves of one width; "
            f"config.data.stream is '{stream}', keep the streams as rgb/NAME.npy and flow/NAME.npy or in one "
            ".npz as 'rgb' and 'flow'."
        )
    return signal[..., :first] if stream == STREAMS[0] else signal[..., first:]
