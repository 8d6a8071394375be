import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.ops.segments import distance_iou, overlap_and_union, tiou

FIRST = np.array([[0.0, 4.0], [2.0, 6.0], [5.0, 5.0]])
SECOND = np.array([[2.0, 6.0], [4.0, 8.0], [5.0, 5.0]])


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_tiou_by_hand(array):
    found = tiou(array(FIRST)[:, None], array(SECOND))
    np.testing.assert_allclose(found, [[1 / 3, 0, 0], [1, 1 / 3, 0], [0, 0, 0]], rtol=1e-6)
    shared, union = overlap_and_union(array(FIRST), array(SECOND[::-1]))
    np.testing.assert_array_equal(shared, [-1, 2, 0])  # a gap of 1
    np.testing.assert_array_equal(union, [5, 6, 4])
    # frames, of which the last one counts: 0..4 and 4..8 share one of nine
    np.testing.assert_allclose(tiou(array([0, 4]), array([4, 8]), extra_length=1), 1 / 9, rtol=1e-6)


def test_tiou_of_distances_is_that_of_the_segments_around_an_anchor():
    anchor, rng = 7.0, np.random.default_rng(0)
    predicted, target = rng.random((2, 5, 2)).astype(np.float32)
    segments = [anchor + np.stack([-pair[:, 0], pair[:, 1]], axis=1) for pair in (predicted, target)]
    np.testing.assert_allclose(distance_iou(predicted, target), tiou(*segments), rtol=1e-5)
    apart = distance_iou(np.array([-1.0, 2.0]), np.array([3.0, -2.0]))  # 1..2 and -3..-2, a gap of 3
    np.testing.assert_allclose(apart, -3 / 5, rtol=1e-6)
    assert isinstance(apart, jax.Array)
