"""Temporal actionness grouping: cases worked by hand, properties, and a plain rendering of its definition."""

import numpy as np
import pytest

from tal_jax.ops.grouping import temporal_actionness_grouping

HILLS = [0, 0.9, 0.8, 0, 0.6, 0, 0, 0, 0.7]  # basins at level 0.5: [1, 3), [4, 5), [8, 9)


@pytest.mark.parametrize(
    "tolerance, expected",
    [
        (0.2, [(1, 3), (4, 5), (8, 9)]),
        (0.25, [(1, 3), (1, 5), (4, 5), (8, 9)]),  # [1, 5) has 1 cell of 4 outside
        # [1, 9) has 4 of 8; [4, 9), with 3 of 5, is not tolerated
        (0.5, [(1, 3), (1, 5), (1, 9), (4, 5), (8, 9)]),
        # the second seed goes on to the end; the first has nothing before it
        (0.6, [(1, 3), (1, 5), (1, 9), (4, 9), (8, 9)]),
    ],
)
def test_basins_absorb_their_neighbours_as_far_as_is_tolerated(tolerance, expected):
    segments, scores = temporal_actionness_grouping(HILLS, [0.5], [tolerance], nms_tiou=1.0)
    assert sorted(map(tuple, segments.tolist())) == sorted(expected)
    np.testing.assert_allclose(scores, [np.mean(HILLS[start:end]) for start, end in segments], rtol=1e-12)
    assert (np.diff(scores) <= 0).all()


def plain_groups(actionness, thresholds, tolerances):
    """All groups, seed by seed, basin by basin."""
    groups = set()
    for threshold in thresholds:
        above = [value > threshold for value in actionness]
        starts = [t for t in range(len(above)) if above[t] and (t == 0 or not above[t - 1])]
        ends = [t + 1 for t in range(len(above)) if above[t] and (t == len(above) - 1 or not above[t + 1])]

        def outside(first, last):
            cells = above[starts[first] : ends[last]]
            return cells.count(False) / len(cells)

        for tolerance in tolerances:
            for seed in range(len(starts)):
                first = last = seed
                while last + 1 < len(starts) and outside(seed, last + 1) <= tolerance + 1e-9:
                    last += 1
                while first > 0 and outside(first - 1, seed) <= tolerance + 1e-9:
                    first -= 1
                groups |= {(starts[seed], ends[last]), (starts[first], ends[seed])}
    return sorted(groups)


@pytest.mark.parametrize("seed", range(5))
def test_equals_the_definition_on_random_sequences_and_mirrors(seed):
    rng = np.random.default_rng(seed)
    actionness, levels, tolerances = rng.random(40), [0.3, 0.5, 0.8], [0.05, 0.2, 0.45, 0.7]
    segments, _ = temporal_actionness_grouping(actionness, levels, tolerances, nms_tiou=1.0)
    assert sorted(map(tuple, segments.tolist())) == plain_groups(actionness, levels, tolerances)
    mirrored, _ = temporal_actionness_grouping(actionness[::-1], levels, tolerances, nms_tiou=1.0)
    assert sorted(map(tuple, (40 - mirrored[:, ::-1]).tolist())) == sorted(map(tuple, segments.tolist()))


def test_two_clear_actions_come_first_and_near_copies_are_left_out():
    actionness = np.full(200, 0.02)
    actionness[30:70], actionness[120:150] = 0.93, 0.88
    segments, scores = temporal_actionness_grouping(actionness)
    assert segments[:2].tolist() == [[30, 70], [120, 150]]
    overlap = np.minimum(segments[:, None, 1], segments[:, 1]) - np.maximum(
        segments[:, None, 0], segments[:, 0]
    )
    length = segments[:, 1] - segments[:, 0]
    tiou = overlap / (length[:, None] + length - overlap)
    assert (tiou[~np.eye(len(segments), dtype=bool)] < 0.95).all()
    assert ((scores > 0) & (scores < 1)).all()


@pytest.mark.parametrize(
    "actionness, expected", [([], []), (np.zeros(5), []), (np.ones(5), [[0, 5]]), ([0.5], [[0, 1]])]
)
def test_short_and_flat_sequences(actionness, expected):
    segments, scores = temporal_actionness_grouping(actionness)
    assert (
        segments.tolist() == expected
        and segments.shape == (len(expected), 2)
        and scores.shape == (len(expected),)
    )


@pytest.mark.parametrize("actionness", [[0.5, np.nan], np.ones((3, 2))])
def test_what_is_no_sequence_is_refused(actionness):
    with pytest.raises(ValueError, match="without NaN"):
        temporal_actionness_grouping(actionness)
