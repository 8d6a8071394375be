"""Anchors, outer-inner contrast and the choice of segments of KT-MGFN: golden cases and by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.systems.kt_mgfn import boundary, losses
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.kt_mgfn.decode import localize
from tal_jax.systems.kt_mgfn.losses import contrast_loss
from tests.golden_case import GoldenCase


@pytest.fixture(params=["float32", "float64"])
def precision(request):
    """The name of a precision, in force during the test."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def golden(name, precision):
    """(arrays of that precision, its tolerances)"""
    case = GoldenCase.load(f"kt_mgfn/{name}")
    arrays = {
        key: value.astype(precision) if value.dtype == np.float64 else value
        for key, value in case.arrays.items()
    }
    return arrays, case.info["tolerance"][precision]


def offsets_of(arrays):
    """(..., T, M, 2) from p_x and p_w of the case, (..., M, T)."""
    return jnp.stack([arrays["p_x"].swapaxes(-1, -2), arrays["p_w"].swapaxes(-1, -2)], axis=-1)


def snippet_first(values):
    """(..., T, M, 2) from the case's (2, ..., M, T)."""
    return np.moveaxis(values, 0, -1).swapaxes(-2, -3)


def test_golden_anchors_and_their_outer_segments(precision):
    arrays, tolerance = golden("anchor_boundaries", precision)
    segments = boundary.anchor_segments(offsets_of(arrays), arrays["anchor_length"])
    np.testing.assert_allclose(segments, snippet_first(arrays["inner"]), **tolerance)
    np.testing.assert_allclose(segments.mean(-1), arrays["center"].swapaxes(-1, -2), **tolerance)
    np.testing.assert_allclose(
        segments[..., 1] - segments[..., 0], arrays["length"].swapaxes(-1, -2), **tolerance
    )
    np.testing.assert_allclose(
        boundary.outer_segments(segments, 0.25), snippet_first(arrays["outer"]), **tolerance
    )
    np.testing.assert_allclose(
        boundary.outer_segments(segments, 0.25, 1.0), snippet_first(arrays["outer_min1"]), **tolerance
    )
    at_start = boundary.anchor_segments(offsets_of(arrays), arrays["anchor_length"], centre=0.0)
    np.testing.assert_allclose(at_start, snippet_first(arrays["inner_index_center"]), **tolerance)


def test_golden_contrast_and_its_gradient(precision):
    arrays, tolerance = golden("oic_loss", precision)

    def contrast(offsets):
        segments = boundary.anchor_segments(offsets, arrays["anchor_length"])
        return boundary.outer_inner_contrast(arrays["activation"], segments, 0.25)

    offsets = offsets_of(arrays)
    np.testing.assert_allclose(jax.jit(contrast)(offsets), arrays["oic"].T, **tolerance)
    gradient = jax.jit(jax.grad(lambda offsets: contrast(offsets).mean()))(offsets)
    np.testing.assert_allclose(gradient[..., 0], arrays["grad_p_x"].T, **tolerance)
    np.testing.assert_allclose(gradient[..., 1], arrays["grad_p_w"].T, **tolerance)


def golden_rows(arrays):
    """{class: (N, 2) segments, (N,) contrasts} in the order of the case."""
    rows = arrays["segments"]
    return {k: (rows[rows[:, 0] == k, 1:3], rows[rows[:, 0] == k, 4]) for k in arrays["classes"]}


def test_golden_selection_in_training(precision, monkeypatch):
    arrays, tolerance = golden("select_segments", precision)
    segments = boundary.anchor_segments(offsets_of(arrays), arrays["anchor_length"])
    select = jax.jit(boundary.select)
    for k, (expected, contrast) in golden_rows(arrays).items():
        found = select(arrays["activation"][k], segments)
        kept = np.flatnonzero(found.kept)
        kept = kept[np.argsort(found.contrast[kept])]
        np.testing.assert_allclose(found.segments[kept], expected, **tolerance)
        np.testing.assert_allclose(found.contrast[kept], contrast, **tolerance)
    labels = np.zeros((1, 4), precision)
    labels[:, arrays["classes"]] = 1
    for max_labels in (2, 8):
        monkeypatch.setattr(losses, "MAX_LABELS", max_labels)
        loss = jax.jit(contrast_loss)(arrays["activation"].T[None], segments[None], labels)
        np.testing.assert_allclose(loss, [arrays["oic_train_loss"]], **tolerance)


def test_golden_selection_on_the_host():
    arrays, tolerance = golden("select_segments", "float32")
    config = kt_mgfn_config()
    segments = boundary.anchor_segments(offsets_of(arrays), arrays["anchor_length"])
    best, contrast = jax.vmap(boundary.best_segments, (0, None))(arrays["activation"], segments)
    window = {
        "cas": arrays["activation"].T,
        "probabilities": arrays["class_probability"],
        "segments": np.asarray(best),
        "contrast": np.asarray(contrast),
    }
    found, classes, scores = localize(config, window, num_frames=500)
    rows = arrays["segments"]
    np.testing.assert_array_equal(classes, rows[:, 0])  # of 0.8, 0.1, 0.6, 0.3 those of 0.5 and more
    np.testing.assert_allclose(found, 10 * np.clip(rows[:, 1:3], 0, 50), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, rows[:, 3], **tolerance)

    window["probabilities"] = window["probabilities"] / 2  # none reaches 0.5: the best class alone, here 0
    found, classes, scores = localize(config, window, num_frames=500)
    np.testing.assert_array_equal(classes, np.zeros(10))
    np.testing.assert_allclose(scores, rows[:10, 3] / 2, **tolerance)


def test_segments_beyond_the_window_are_not_found():
    config = kt_mgfn_config()
    window = {
        "cas": np.ones((4, 1), np.float32),
        "probabilities": np.ones(1, np.float32),
        "segments": np.array([[[-9.0, -5.0], [-1.0, 3.0], [5.0, 9.0], [2.0, 2.5]]], np.float32),
        "contrast": np.array([[0.0, -0.5, 0.0, 0.5]], np.float32),
    }
    found, classes, scores = localize(config, window, num_frames=8)
    np.testing.assert_array_equal(found, [[0, 6]])
    np.testing.assert_array_equal(classes, [0])
    np.testing.assert_allclose(scores, [0.75])
    window["contrast"][:] = 0.9
    assert [len(part) for part in localize(config, window, num_frames=8)] == [0, 0, 0]


def test_a_box_is_found_by_its_own_segment():
    activation = jnp.zeros(20).at[6:12].set(1.0)
    contrast = functools.partial(boundary.outer_inner_contrast, activation, ratio=0.25)
    assert contrast(jnp.array([6.0, 12.0])) == -1.0
    for other in ([7.0, 11.0], [5.0, 13.0], [4.0, 10.0], [0.0, 20.0], [13.0, 15.0]):
        assert contrast(jnp.array(other)) > -0.9
    # inside and around it all is 1
    np.testing.assert_allclose(contrast(jnp.array([7.0, 9.0])), 0.0, atol=1e-6)
    # beside it: one half of the ring is 1
    np.testing.assert_allclose(contrast(jnp.array([12.0, 16.0])), 0.5, atol=1e-6)


def test_contrast_pulls_a_segment_to_the_box():
    activation = jnp.zeros(20).at[6:12].set(1.0)
    slope = jax.grad(lambda segment: boundary.outer_inner_contrast(activation, segment, 0.25))
    too_short, too_long = slope(jnp.array([6.5, 11.5])), slope(jnp.array([5.5, 12.5]))
    assert too_short[0] > 0 > too_short[1]  # descent moves against the slope: outwards
    assert too_long[0] < 0 < too_long[1]


def test_nothing_is_divided_by_zero():
    activation = jnp.ones(5)
    degenerate = jnp.array([[2.0, 2.0], [-50.0, -40.0], [40.0, 50.0], [-50.0, 50.0]])
    contrast = functools.partial(boundary.outer_inner_contrast, activation, ratio=0.25)
    np.testing.assert_allclose(contrast(degenerate), [0, 0, 0, -0.05], atol=1e-6)
    assert np.isfinite(jax.grad(lambda segments: contrast(segments).sum())(degenerate)).all()


def test_the_contrast_may_be_of_scaled_activations():
    config, cas = kt_mgfn_config(), jnp.array([[[-2.0, 5.0], [2.0, 5.0], [0.0, 5.0]]])  # (B, T, K)
    np.testing.assert_array_equal(boundary.contrast_activations(config, cas), cas)
    config.readings = ("oic_scaled=True",)
    np.testing.assert_allclose(
        boundary.contrast_activations(config, cas), [[[0.0, 0.0], [1.0, 0.0], [0.5, 0.0]]]
    )


def test_the_integral_is_that_of_steps(precision):
    activation = np.random.default_rng(0).random(7).astype(precision)
    ends = np.array([-3.0, -0.5, 0.0, 0.25, 3.0, 3.5, 6.9, 7.0, 9.5], precision)
    expected = [np.clip(end - np.arange(7), 0, 1) @ activation for end in ends]
    np.testing.assert_allclose(boundary.integral(activation, ends), expected, rtol=1e-5)
    slopes = jax.vmap(jax.grad(functools.partial(boundary.integral, activation)))(jnp.asarray(ends))
    inside = [0, 0, *activation[[0, 0, 3, 3, 6]], 0, 0]
    np.testing.assert_array_equal(slopes, inside)


def test_kept_segments_are_those_of_a_greedy_loop():
    rng = np.random.default_rng(1)
    keep_best = jax.jit(boundary.keep_best, static_argnums=3)
    for _ in range(20):
        start = rng.uniform(0, 20, 15)
        segments = np.stack([start, start + rng.uniform(0.5, 10, 15)], axis=-1).astype(np.float32)
        scores = rng.integers(0, 6, 15).astype(np.float32)  # with equal ones
        candidate = rng.random(15) < 0.7
        kept = []
        for i in sorted(np.flatnonzero(candidate), key=lambda i: -scores[i]):
            shared = [
                max(min(segments[i, 1], segments[j, 1]) - max(segments[i, 0], segments[j, 0]), 0)
                for j in kept
            ]
            lengths = [np.ptp(segments[i]) + np.ptp(segments[j]) for j in kept]
            if all(s / (length - s) < 0.4 for s, length in zip(shared, lengths)):
                kept.append(i)
        np.testing.assert_array_equal(
            np.flatnonzero(keep_best(segments, scores, candidate, 0.4)), sorted(kept)
        )


def test_the_mean_is_over_the_kept_segments_of_the_labels():
    cas = jnp.zeros((2, 20, 3)).at[:, 6:12, 1].set(1.0).at[:, 14:16, 2].set(1.0)
    segments = jnp.tile(jnp.array([[6.0, 12.0], [14.0, 16.0]]), (2, 20, 1, 1))  # the same two at each snippet
    labels = jnp.array([[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]])
    mean = jax.jit(contrast_loss)
    np.testing.assert_allclose(mean(cas, segments, labels), [-1.0, -1.0])  # each class keeps its box, once
    np.testing.assert_allclose(
        mean(cas, segments.at[..., 0, 1].set(13.0), labels), [-6 / 7, (-6 / 7 - 1) / 2], rtol=1e-5
    )
    # nothing active, nothing kept
    np.testing.assert_array_equal(mean(0.05 * cas, segments, labels), [0.0, 0.0])
    np.testing.assert_array_equal(mean(cas, segments, 0 * labels), [0.0, 0.0])
    to_cas, to_segments = jax.grad(lambda *values: mean(*values, labels).sum(), (0, 1))(cas, segments)
    assert not to_cas.any() and to_segments.any()
