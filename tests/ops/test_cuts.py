import numpy as np
import pytest

from tal_jax.ops.cuts import longest_pieces, split_at_cuts, straddles

SEGMENTS = np.array([[0.0, 4.0], [2.0, 10.0], [4.0, 6.0], [6.5, 6.5]])
CUTS = np.array([0.0, 3.0, 4.0, 9.0])


def test_pieces_by_hand():
    np.testing.assert_array_equal(straddles(SEGMENTS, CUTS), [True, True, False, False])
    pieces, source = split_at_cuts(SEGMENTS, CUTS)
    expected = [[0, 3], [3, 4], [2, 3], [3, 4], [4, 9], [9, 10], [4, 6], [6.5, 6.5]]
    np.testing.assert_array_equal(pieces, expected)
    np.testing.assert_array_equal(source, [0, 0, 1, 1, 1, 1, 2, 3])
    np.testing.assert_array_equal(longest_pieces(SEGMENTS, CUTS), [[0, 3], [4, 9], [4, 6], [6.5, 6.5]])
    np.testing.assert_array_equal(longest_pieces([[0, 4]], [2]), [[0, 2]])  # of equal ones the first


def test_without_cuts_or_segments_nothing_changes():
    pieces, source = split_at_cuts(SEGMENTS, [])
    np.testing.assert_array_equal(pieces, SEGMENTS)
    np.testing.assert_array_equal(source, range(4))
    np.testing.assert_array_equal(longest_pieces(SEGMENTS, []), SEGMENTS)
    assert split_at_cuts(np.zeros((0, 2)), CUTS)[0].shape == longest_pieces([], CUTS).shape == (0, 2)


@pytest.mark.parametrize("seed", range(5))
def test_pieces_hold_no_cut_and_all_the_time(seed):
    rng = np.random.default_rng(seed)
    segments = np.sort(rng.uniform(0, 100, (30, 2)), axis=1)
    cuts = np.sort(rng.uniform(0, 100, 12))
    pieces, source = split_at_cuts(segments, cuts)
    assert not straddles(pieces, cuts).any()
    lengths = np.bincount(source, pieces[:, 1] - pieces[:, 0])
    np.testing.assert_allclose(lengths, segments[:, 1] - segments[:, 0])
    longest = longest_pieces(segments, cuts)
    best = [np.ptp(pieces[source == number], axis=1).max() for number in range(30)]
    np.testing.assert_allclose(np.ptp(longest, axis=1), best)
