"""A recording as a fixed number of snippets: which of its features to take, or its features rescaled. On the
host.

A snippet is one feature vector; the networks of the weakly supervised systems see T of them, whatever the L
of a recording.
"""

import numpy as np


def sample_indices(length, num_snippets, rng=None):
    """Which of the L features of a recording stand for its T snippets, one of each of T equal parts.

    Feature j is the cell from j to j + 1 of time, snippet i the part from i L / T to (i + 1) L / T.

    Args:
        length: L, at least 1.
        num_snippets: T, at least 1.
        rng: np.random.Generator for training: the feature at a place that is drawn uniformly from the part.
            None: the feature in the middle of the part. Where the middle is the border of two features, an
            even part has the earlier one and an odd part the later one.

    Returns:
        (T,) int64 in [0, L), not falling. If L < T features repeat, if L = T every feature comes once.
    """
    part = np.arange(num_snippets)
    if rng is not None:
        return (part * length + rng.integers(length, size=num_snippets)) // num_snippets
    feature, rest = np.divmod((2 * part + 1) * length, 2 * num_snippets)
    # The later feature of every border would move all actions by half a feature.
    return feature - ((rest == 0) & (part % 2 == 0))


def published_indices(length, num_snippets, rng=None):
    """Which of the L features stand for the T snippets in the code of BaSNet: the first one of each part.

    It is earlier than the middle of the part, so what is found in it is placed too late: by (L / T - 1) / 2
    features where T divides L. ECM's own code samples nothing: its feature files hold T snippets already.

    Args:
        length: L, at least 1.
        num_snippets: T, at least 1.
        rng: np.random.Generator for training: feature i is drawn from floor(i L / T) to floor((i + 1) L / T),
            both included; the last one from floor((T - 1) L / T) to the end. None: floor(i L / T) itself.

    Returns:
        (T,) int64 in [0, L), not falling. Training may take a feature twice. If L < T features repeat; if
        L = T every feature comes once.
    """
    first = np.arange(num_snippets) * length // num_snippets
    if rng is None or length == num_snippets:
        return first
    return rng.integers(first, np.append(first[1:], length - 1), endpoint=True)


def resize_linear(sequence, length):
    """Linear interpolation with half-pixel centres, bit for bit that of OpenCV (`resize` of one row,
    INTER_LINEAR, float32).

    Sample i of the result lies at (i + 0.5) * T / F - 0.5 of the sequence. There is no smoothing when F < T,
    and the first and last values go on beyond the centres at the ends.

    Args:
        sequence: (T, ...) float, T at least 1.
        length: F, at least 1.

    Returns:
        (F, ...) float32.
    """
    sequence = np.asarray(sequence, np.float32)
    position = (np.arange(length) + 0.5) * len(sequence) / length - 0.5
    position = np.clip(position.astype(np.float32), 0, len(sequence) - 1)  # rounded to float32 as in OpenCV
    before = position.astype(np.int64)  # (F,)
    after = np.minimum(before + 1, len(sequence) - 1)
    weight = (position - before.astype(np.float32)).reshape(-1, *[1] * (sequence.ndim - 1))
    return sequence[before] * (1 - weight) + sequence[after] * weight


def window_snippets(window, features, rng=None):
    """The T snippets of a window.

    Args:
        window: `config.window`: `snippets`, T; `sampling`, 'middle' (see `sample_indices`), 'published'
            (see `published_indices`) or 'linear' (see `resize_linear`).
        features: (L, C) float.
        rng: np.random.Generator for training, None for testing; 'linear' is the same for both.

    Returns:
        (T, C) float32.
    """
    if window.sampling == "linear":
        return resize_linear(features, window.snippets)
    choose = {"middle": sample_indices, "published": published_indices}[window.sampling]
    return np.asarray(features[choose(len(features), window.snippets, rng)], np.float32)
