"""From the arrays of a window to segments: each rule by hand, and what is around them."""

from types import SimpleNamespace

import numpy as np
import pytest

from tal_jax.ops import localize

SETTINGS = SimpleNamespace(
    min_probability=0.5,
    thresholds=(0.5,),
    outer_ratio=0.5,
    probability_weight=1.0,
    smoothing=1,
    max_classes=5,
)
# Two classes, of which the first is active in cells 2 and 3, the second in cells 6 and 7 of 10.
CAS = np.zeros((10, 2), np.float32)
CAS[2:4, 0] = CAS[6:8, 1] = 1


def window(*probabilities):
    return {"cas": CAS, "probabilities": np.array(probabilities, np.float32)}


def test_runs_of_likely_classes():
    segments, classes, scores = localize.of_likely_classes(SETTINGS, window(0.2, 0.7), 10)
    assert segments.tolist() == [[6, 8]] and classes.tolist() == [1]
    np.testing.assert_allclose(scores, [1.7])  # 1 inside, 0 around, and the probability


@pytest.mark.parametrize("rule", [localize.of_likely_classes, localize.of_likely_or_best_class])
def test_no_class_is_likely(rule):
    segments, classes, _ = rule(SETTINGS, window(0.4, 0.1), 10)
    found = rule is localize.of_likely_or_best_class
    assert segments.tolist() == [[2, 4]] * found and classes.tolist() == [0] * found


def test_boundaries():
    arrays = window(0.6, 0.1) | {
        "segments": np.tile(np.array([[-2.0, 4.0]], np.float32), (2, 10, 1)),
        "contrast": np.full((2, 10), 0.5, np.float32),
    }
    arrays["contrast"][0, 2:4] = [-0.5, -0.6]  # of the same segment the better one stays
    segments, classes, scores = localize.of_boundaries(SETTINGS, arrays, 20)
    assert segments.tolist() == [[0, 8]] and classes.tolist() == [0]  # clipped, in frames
    np.testing.assert_allclose(scores, [0.6 * 1.6 / 2])


def test_runs_of_probabilities():
    segments, classes, _ = localize.of_probabilities(SETTINGS, window(0, 0), 10)
    assert segments.tolist() == [[2, 4], [6, 8]] and classes.tolist() == [0, 1]


def test_a_window_is_as_many_frames_as_its_features_last():
    lengths = []

    def rule(arrays, num_frames):
        lengths.append(num_frames)
        return np.array([[0.0, num_frames]]), arrays, arrays

    for frames_per_feature, frames in ((2.5, 10), (0.1, 1)):  # rounded, and at least one
        segments, *_ = localize.in_features(rule, np.zeros(1), 4, frames_per_feature)
        assert segments.tolist() == [[0, 4]] and lengths[-1] == frames


def test_the_activations_of_windows_that_overlap():
    cas = np.arange(8, dtype=np.float32)[:, None]
    padded = np.concatenate([cas[4:], np.full((2, 1), 99, np.float32)])
    found = localize.whole_cas([(0, 6, {"cas": cas[:6]}), (4, 4, {"cas": padded})])
    np.testing.assert_array_equal(found, cas)
