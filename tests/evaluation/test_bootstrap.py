"""A recording that is drawn twice counts as two equal recordings do."""

import numpy as np
import pytest

from tal_jax.evaluation import bootstrap, detad
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.page.judged import judge
from tests.evaluation.test_detection import annotations_of, results_of

TIOUS = (0.3, 0.5, 0.7)
WHICH = dict(subset="test", left_out=(), missing="missed")


def random_case(seed, num_recordings=6):
    """{recording: [(label, start, end)]} and {recording: [(label, start, end, score)]}, scores all different."""
    rng, truths, found = np.random.default_rng(seed), {}, {}
    scores = iter(rng.permutation(1000) / 1000)
    for i in range(num_recordings):
        starts = rng.uniform(0, 50, 4)
        truths[f"r{i}"] = [("abc"[rng.integers(3)], s, s + rng.uniform(2, 8)) for s in starts]
        moved = rng.normal(0, 0.8, (4, 2))
        near = [(label, s + a, e + abs(b)) for (label, s, e), (a, b) in zip(truths[f"r{i}"], moved)]
        far = [("abc"[rng.integers(3)], s, s + 4) for s in rng.uniform(0, 50, 6)]
        found[f"r{i}"] = [(*row, float(next(scores))) for row in near + far]
    return truths, found


def judged_of(truths, found):
    return judge(annotations_of(truths), results_of(found), WHICH, TIOUS)


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_copies(seed):
    truths, found = random_case(seed)
    weights = np.array([[1, 1, 1, 1, 1, 1], [2, 0, 1, 3, 0, 1], [0, 0, 0, 0, 4, 0]], float)
    ours = bootstrap.map_of_weights(judged_of(truths, found).matches, weights)
    for row, values in zip(weights.astype(int), ours, strict=True):
        copies = [(name, copy) for name, count in zip(truths, row) for copy in range(count)]
        of_copies = lambda table: {f"{name}_{copy}": table[name] for name, copy in copies}
        known = annotations_of(of_copies(truths))
        result = evaluate_detections(known, results_of(of_copies(found)), subset="test", tious=TIOUS)
        np.testing.assert_allclose(100 * values, [*result["map"].values()], rtol=1e-9)


def test_a_draw_without_truths_is_nan():
    truths, found = random_case(0)
    truths["r0"] = []
    values = bootstrap.map_of_weights(judged_of(truths, found).matches, np.eye(6)[:2])
    assert np.isnan(values[0]).all() and np.isfinite(values[1]).all()


def test_parts_of_draws_change_nothing(monkeypatch):
    matches = judged_of(*random_case(1)).matches
    draws = bootstrap.draws(6, 40)
    whole = bootstrap.map_of_weights(matches, draws)
    monkeypatch.setattr(bootstrap, "CHUNK", 1)
    np.testing.assert_allclose(bootstrap.map_of_weights(matches, draws), whole, rtol=1e-12)


def test_draws_and_intervals():
    draws = bootstrap.draws(7, 300)
    assert (draws.sum(axis=1) == 7).all() and abs(draws.mean() - 1) < 1e-9
    np.testing.assert_array_equal(draws, bootstrap.draws(7, 300))
    low, high = bootstrap.interval(np.append(np.arange(1001.0), np.nan))
    assert (low, high) == pytest.approx((25, 975))
    assert bootstrap.interval(np.array([np.nan])) is None


def test_judged_agrees_with_the_diagnosis():
    truths, found = random_case(2)
    judged = judged_of(truths, found)
    types = np.concatenate([judged.types[name] for name in judged.names])
    expected = detad.error_types(judged.at)[0]
    assert sorted(types[types >= 0]) == sorted(expected)
    hits = sum(np.isfinite(scores).sum() for scores in judged.found_at.values())
    assert hits == (types == 0).sum() > 0
    for name in judged.names:  # a detection that is right has taken the truth that says its score
        scores = [row[3] for row, kind in zip(found[name], judged.types[name]) if kind == 0]
        taken = judged.found_at[name][np.isfinite(judged.found_at[name])]
        assert sorted(scores) == pytest.approx(sorted(taken))
