"""Characteristics of ground truths, and the buckets into which they fall.

After Alwassel et al., "Diagnosing Error in Temporal Action Detectors" (ECCV 2018), DETAD: the coverage of a
ground truth, its length, and the number of actions in its recording.
"""

import numpy as np

# The edges of DETAD's buckets. The third edge of the coverages of ActivityNet is 0.6000000000000001 there.
EDGES = {
    "thumos14": {
        "coverage": (0, 0.02, 0.04, 0.06, 0.08, 1),
        "length": (0, 3, 6, 12, 18, np.inf),
        "num_instances": (-1, 1, 40, 80, np.inf),
    },
    "activitynet": {
        "coverage": tuple(np.linspace(0, 1, 6).tolist()),
        "length": (0, 30, 60, 120, 180, np.inf),
        "num_instances": (-1, 1, 4, 8, np.inf),
    },
}
NAMES = {
    1: ("all",),
    2: ("S", "L"),
    3: ("S", "M", "L"),
    4: ("XS", "S", "M", "L"),
    5: ("XS", "S", "M", "L", "XL"),
}


def characteristics(truths, annotated, durations_sec):
    """The characteristics of ground truths.

    Args:
        truths: (G,) ROW, those that are scored.
        annotated: ROW, all actions of their recordings, also those that are not scored.
        durations_sec: {rank of a recording: its length in seconds, or None}.

    Returns:
        {name: (G,) float64}: "coverage", the share of its recording that a truth takes, NaN where the length
        of the recording is not known; "length" in seconds; "num_instances", the number of actions in its
        recording, whatever their class.
    """
    lengths_sec = np.diff(truths["segment_sec"])[:, 0]
    longest_sec = np.array([durations_sec[rank] or np.nan for rank in truths["recording"]], float)
    recordings, counts = np.unique(annotated["recording"], return_counts=True)
    return {
        "coverage": lengths_sec / longest_sec,
        "length": lengths_sec,
        "num_instances": counts[np.searchsorted(recordings, truths["recording"])].astype(float),
    }


def quantile_edges(values, count=5):
    """Edges of `count` buckets that hold as many of the (G,) values each as can be; NaN is no value.

    Equal quantiles make fewer buckets. One value at least must be a number.

    Returns:
        tuple of floats that rise, but that the first two are equal where the lowest value is so frequent that
        it has a bucket of its own.
    """
    lowest, *others = np.quantile(values[~np.isnan(values)], np.linspace(0, 1, count + 1))
    return (float(lowest), *np.unique(others).tolist())


def bucket_of(values, edges):
    """(G,) int, the bucket of each value: 0 from edges[0] to edges[1], then above an edge and up to the next.

    A value outside all buckets, or NaN, has -1.

    Args:
        values: (G,) float.
        edges: rising numbers, one more than there are buckets; the last may be infinity.
    """
    inside = (values >= edges[0]) & (values <= edges[-1])
    return np.where(inside, np.searchsorted(edges[1:-1], values, "left"), -1)


def edges_of(edges, values):
    """The edges of the buckets of each characteristic.

    Args:
        edges: a key of EDGES; "quantiles", see `quantile_edges`; or {characteristic: edges}.
        values: {characteristic: (G,) float}.

    Returns:
        {characteristic: tuple of edges}, of those characteristics that `edges` has and of which some value is
        a number.

    Raises:
        ValueError: `edges` is none of these, names an unknown characteristic, or has edges that do not rise.
    """
    known = {name: of_all for name, of_all in values.items() if not np.isnan(of_all).all()}
    if edges == "quantiles":
        return {name: quantile_edges(of_all) for name, of_all in known.items()}
    if isinstance(edges, str) and edges not in EDGES:
        choices = ", ".join([*EDGES, "quantiles"])
        raise ValueError(f"edges is '{edges}'; it must be one of {choices}, or edges by characteristic.")
    asked = EDGES[edges] if isinstance(edges, str) else edges
    for name, numbers in asked.items():
        if name not in values:
            raise ValueError(f"edges has '{name}'; the characteristics are {', '.join(values)}.")
        if len(numbers) < 2 or not np.all(np.diff(numbers) > 0):
            raise ValueError(f"edges of '{name}' are {tuple(numbers)}; they must be two or more that rise.")
    return {name: tuple(asked[name]) for name in known if name in asked}


def bucket_names(edges, names=None):
    """A name for each bucket between `edges`: `names` if given, else sizes such as "XS", or numbers from "1".

    Raises:
        ValueError: there are more or fewer `names` than buckets, or two are equal.
    """
    count = len(edges) - 1
    if names is None:
        return NAMES.get(count, tuple(str(i + 1) for i in range(count)))
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"names are {tuple(names)}; there must be {count} different ones, one a bucket.")
    return tuple(names)
