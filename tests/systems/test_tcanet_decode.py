"""Post-processing of TCANet against the published one, and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.systems.tcanet.config import tcanet_config
from tal_jax.systems.tcanet.decode import decode, detections, suppress
from tal_jax.systems.tcanet.model import Outputs
from tal_jax.systems.tcanet.tbr import Stage
from tests.golden import recipe
from tests.systems.tcanet_golden import load, tolerance


def test_proposals_and_detections_are_the_published_ones():
    case = load("postprocess")
    config, close = tcanet_config(), tolerance(case, "values")
    duration = float(case.arrays["duration"])
    segments = case.arrays["boxes"] * duration
    scores = case.arrays["proposal_score"] * case.arrays["confidence2"]
    kept, kept_scores = suppress(config, segments, scores, duration)
    np.testing.assert_allclose(np.column_stack([kept, kept_scores]), case.arrays["proposals_out"], **close)
    logits = 2 * recipe.array("class_logits", [200])
    found, classes, found_scores = detections(config, segments, scores, duration, class_logits=logits)
    np.testing.assert_allclose(np.column_stack([classes, found, found_scores]), case.arrays["detections"], **close)
    single, single_score = suppress(config, np.array([[1.0, 5.0]]), np.array([0.6 * 0.7]), 10.0)
    np.testing.assert_allclose([*single[0], single_score[0]], case.arrays["single_out"], **close)


def test_suppression_by_hand():
    config = tcanet_config()
    segments = np.array([[0, 10], [5, 10], [20, 30], [40, 50.0], [60, 70]])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    kept, decayed = suppress(config, segments, scores, 45.0)
    fallen = 0.8 * np.exp(-(0.5**2.5) / 0.4)
    np.testing.assert_allclose(decayed, [0.9, 0.7, 0.6, fallen])  # the last one is lost
    np.testing.assert_array_equal(kept, [[0, 10], [20, 30], [40, 45], [5, 10]])
    config.decode.keep_last = True
    assert suppress(config, segments, scores, 45.0)[1][-1] == 0.1
    config.decode.update(nms_top_k=2, keep=2)
    np.testing.assert_array_equal(suppress(config, segments, scores, 45.0)[1], [0.9, 0.7])


def test_at_most_101_picks_of_which_100_are_kept():
    config = tcanet_config()
    start = np.arange(150.0)
    scores = np.linspace(0.1, 0.9, 150)
    kept, decayed = suppress(config, np.column_stack([start, start + 0.5]), scores, 1000.0)
    np.testing.assert_array_equal(decayed, scores[::-1][:100])
    np.testing.assert_array_equal(kept[:, 0], start[::-1][:100])


@pytest.mark.parametrize("classes", ["recording", "proposals"])
def test_without_proposals_there_are_no_detections(classes):
    config = tcanet_config()
    config.decode.classes = classes
    for segments, scores in ((np.zeros((0, 2)), np.zeros(0)), (np.ones((3, 2)), np.zeros(3))):
        found = detections(config, segments, scores, 9.0, class_logits=np.zeros(5), labels=np.zeros(len(scores), int))
        assert [array.shape for array in found] == [(0, 2), (0,), (0,)]


def test_proposals_keep_their_labels():
    """Each class is suppressed by itself: the same segment of two classes stays as it is."""
    config = tcanet_config()
    config.decode.classes = "proposals"
    segments = np.array([[0, 10], [0, 10], [0, 10.0], [20, 30]])
    found, classes, scores = detections(config, segments, [0.5, 0.9, 0.4, 0.3], 25.0, labels=[7, 2, 7, 7])
    np.testing.assert_array_equal(classes, [2, 7, 7])
    np.testing.assert_allclose(scores, [0.9, 0.5, 0.3])  # the doubled one of class 7 fell below and was the last
    np.testing.assert_array_equal(found, [[0, 10], [0, 10], [20, 25]])


def test_classes_of_a_recording():
    """Three classes for each proposal, probabilities of doubled logits."""
    config = tcanet_config()
    config.decode.max_detections = 4
    logits = np.log([0.1, 0.4, 0.2, 0.3])
    found, classes, scores = detections(config, [[0, 1], [5, 6], [8, 9]], [0.5, 0.4, 0.1], 9.0, class_logits=logits)
    shares = np.array([0.16, 0.09, 0.04]) / 0.3
    np.testing.assert_allclose(scores, [0.5 * shares[0], 0.4 * shares[0], 0.5 * shares[1], 0.4 * shares[1]], rtol=1e-6)
    np.testing.assert_array_equal(classes, [1, 1, 3, 3])
    np.testing.assert_array_equal(found[:, 0], [0, 5, 0, 5])


def test_the_confidence_is_that_of_the_asked_stage_and_0_for_padding():
    def stage(i):
        two = jnp.full((1, 2, 2), float(i))
        return Stage(two, two, two, jnp.full((1, 2), 0.1 * i), two)

    outputs = Outputs(None, None, jnp.array([[True, False]]), tuple(stage(i) for i in (1, 2, 3)))
    config = tcanet_config()
    found = decode(config, outputs)
    np.testing.assert_array_equal(found["segments_sec"], 3.0)
    np.testing.assert_allclose(found["confidence"], [[0.2, 0]])
    config.decode.confidence_stage = 3
    np.testing.assert_allclose(decode(config, outputs)["confidence"], [[0.3, 0]])
