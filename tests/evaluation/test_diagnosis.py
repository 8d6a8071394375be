"""The diagnosis of detections: cases worked by hand, and what holds for any detections."""

import dataclasses
import json

import numpy as np
import pytest

from tal_jax.errors import DataError
from tal_jax.evaluation import detad
from tal_jax.evaluation.characteristics import bucket_names, bucket_of, edges_of, quantile_edges
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.evaluation.diagnosis import diagnose
from tal_jax.evaluation.operating_point import best_f1, calibration
from tal_jax.evaluation.tables import ROW
from tests.evaluation.test_detection import annotations_of, random_case, results_of

TIOUS = [0.3, 0.5, 0.7]


def diagnosis_of(truths, found, tious=(0.5,), **arguments):
    """Diagnosis of {recording: [(label, start, end)]} and {recording: [(label, start, end, score)]}."""
    return diagnose(annotations_of(truths), results_of(found), subset="test", tious=tious, **arguments)


def random_matches(seed):
    rng = np.random.default_rng(seed)
    truths, found = (np.zeros(count, ROW) for count in (40, 300))
    for table in (truths, found):
        table["recording"] = np.sort(rng.integers(0, 6, len(table)))
        table["label"] = rng.integers(0, 3, len(table))
        starts = rng.integers(0, 60, len(table))
        table["segment_sec"] = np.stack([starts, starts + rng.integers(1, 12, len(table))], axis=1)
    found["score"] = rng.integers(0, 40, len(found)) / 40
    truths["recording"][truths["recording"] == 3] = 2  # recording 3 has none
    return detad.match_all(found, truths, TIOUS), rng


@pytest.mark.parametrize("seed", range(4))
def test_what_holds_for_any_detections(seed):
    matches, rng = random_matches(seed)
    num_truths, base = len(matches.truths), detad.base_ap(matches)
    missed = detad.missed_truths(matches)
    np.testing.assert_array_equal(matches.hits.sum(axis=1) + missed.sum(axis=1), num_truths)
    np.testing.assert_allclose(detad.recall(matches) @ matches.num_truths, num_truths - missed.sum(axis=1))

    profile = detad.false_positives(matches, groups=4)
    full = profile["group_sizes"] > 0
    np.testing.assert_allclose(profile["group_shares"][full].sum(axis=1), 1)
    np.testing.assert_allclose(profile["shares"].sum(), 1)
    assert (profile["ap_without"] >= profile["ap"] - 1e-12).all() and profile["gain"].max() > 0
    background = profile["types"] == detad.TYPES.index("background")
    assert background.any() and (background == background[0]).all()
    in_empty = matches.found["recording"] == 3
    assert in_empty.any() and background[:, in_empty].all()
    np.testing.assert_array_equal(profile["types"] == 0, matches.hits)

    one_bucket = detad.sensitivity(matches, np.zeros(num_truths, int), 1)
    np.testing.assert_allclose(one_bucket["map"], [base.mean()])
    first, second = rng.integers(0, 3, num_truths), rng.integers(0, 2, num_truths)
    for bucket, count in [(first, 3), (detad.pair_bucket(first, second, 2), 6)]:
        rates = detad.missed_rates(missed, bucket, count)
        np.testing.assert_allclose(np.nansum(rates["shares"] * rates["rates"]), missed.mean())

    strict = detad.without_hopeless(matches, 0.3)
    assert (detad.missed_truths(strict) >= missed).all() and (strict.hits != matches.hits).any()
    np.testing.assert_array_equal(detad.without_hopeless(matches, 0).truth, matches.truth)


@pytest.mark.parametrize("seed", range(2))
def test_a_diagnosis_and_an_evaluation_agree(seed):
    truths, found = random_case(seed)
    diagnosis = diagnosis_of(truths, found, TIOUS)
    scores = evaluate_detections(
        annotations_of(truths), results_of(found), subset="test", tious=TIOUS, protocol="detad"
    )
    assert diagnosis["map"] == pytest.approx(scores["map"], abs=1e-9)
    assert diagnosis["map_avg"] == pytest.approx(scores["map_avg"], abs=1e-9)
    confusion, counts = diagnosis["confusion"], diagnosis["counts"]
    cells = np.array(confusion["counts"])
    assert cells.sum() + sum(confusion["missed"]) == counts["ground_truths"]
    all_of = diagnosis_of(truths, found, TIOUS, min_score=0.0)
    cells = np.array(all_of["confusion"]["counts"])
    assert cells.sum() + sum(all_of["confusion"]["background"]) == counts["detections"]
    assert np.trace(cells) == all_of["boundary_errors"]["all"]["true_positives"]
    assert counts["detections_that_do_not_last"] > 0
    json.dumps(diagnosis, allow_nan=False)


def test_boundary_errors_by_hand():
    truths = {"v": [("run", 0, 10), ("run", 20, 30), ("jump", 40, 50)]}
    found = {"v": [("run", 1, 10, 0.9), ("run", 19, 32, 0.8), ("run", 20, 22, 0.7), ("jump", 70, 80, 0.9)]}
    errors = diagnosis_of(truths, found)["boundary_errors"]
    run = errors["classes"]["run"]
    assert run["true_positives"] == 2 and errors["all"] == run
    assert run["start_sec"] == pytest.approx(
        {"mean": 0, "5%": -0.9, "25%": -0.5, "50%": 0, "75%": 0.5, "95%": 0.9}
    )
    assert run["end_sec"] == pytest.approx(
        {"mean": 1, "5%": 0.1, "25%": 0.5, "50%": 1, "75%": 1.5, "95%": 1.9}
    )
    assert errors["classes"]["jump"]["true_positives"] == 0
    assert errors["classes"]["jump"]["start_sec"]["mean"] is None


def test_confusion_by_hand():
    truths = {"v": [("run", 0, 10), ("run", 20, 30), ("jump", 40, 50), ("sit", 60, 70)]}
    found = {
        "v": [
            ("jump", 0, 10, 0.9),  # the truth of run is taken by its own class
            ("run", 1, 10, 0.5),
            ("jump", 20, 30, 0.8),  # takes run's second truth
            ("sit", 21, 30, 0.7),  # which is then not free
            ("run", 40, 44, 0.9),  # tIoU 0.4
            ("sit", 60, 70, 0.1),
        ]
    }
    confusion = diagnosis_of(truths, found, min_score=0.2)["confusion"]
    assert confusion["classes"] == ["jump", "run", "sit"] and confusion["min_scores"] == [0.2] * 3
    assert confusion["counts"] == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert confusion["missed"] == [1, 0, 1]
    assert confusion["background"] == [1, 1, 1]
    of_best_f1 = diagnosis_of(truths, found)["confusion"]
    assert of_best_f1["min_scores"] == [None, 0.5, 0.1]  # no jump is right: none of its detections counts
    assert of_best_f1["counts"] == [[0, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert of_best_f1["missed"] == [1, 0, 0] and of_best_f1["background"] == [0, 1, 0]


def test_calibration_by_hand():
    scores = np.array([1.0, 0.75, 0.5, 0.25, 0.125, 1.5, -0.5, np.nan])
    right = np.array([True, True, True, False, True, True, True, True])
    found = calibration(scores, right, num_bins=2)
    np.testing.assert_array_equal(found["counts"], [2, 3])
    np.testing.assert_allclose(found["scores"], [0.1875, 0.75])
    np.testing.assert_allclose(found["shares"], [0.5, 1])
    np.testing.assert_allclose(found["error"], (2 * 0.3125 + 3 * 0.25) / 5)
    assert found["not_counted"] == 3
    empty = calibration(np.zeros(0), np.zeros(0, bool), num_bins=2)
    assert np.isnan(empty["error"]) and np.isnan(empty["shares"]).all()


def test_scores_that_are_probabilities_have_no_calibration_error():
    scores = np.repeat([0.05, 0.25, 0.55, 0.95], 100)
    right = np.concatenate([np.arange(100) < round(100 * score) for score in (0.05, 0.25, 0.55, 0.95)])
    assert calibration(scores, right)["error"] == pytest.approx(0, abs=1e-12)


def test_best_f1_by_hand():
    scores = np.array([0.9, 0.8, 0.8, 0.4, 0.3])
    right = np.array([False, True, True, False, True])
    # F1 with 4 truths: 0 of 1; 2 of 3: 4/7; 2 of 4: 1/2; 3 of 5: 2/3
    found = best_f1(scores, right, 4)
    assert found == pytest.approx({"score": 0.3, "f1": 2 / 3, "precision": 3 / 5, "recall": 3 / 4})
    # with 2 truths: 4/5 at 0.8, where both of score 0.8 count
    assert best_f1(scores, right & (scores > 0.3), 2)["score"] == 0.8
    assert best_f1(scores, right & (scores > 0.3), 2)["f1"] == pytest.approx(4 / 5)
    assert best_f1(np.array([0.8, 0.8]), np.array([True, False]), 1)["f1"] == pytest.approx(2 / 3)
    assert np.isnan(best_f1(scores, right & False, 2)["score"])
    assert best_f1(np.array([np.nan, 0.5]), np.array([True, True]), 1)["precision"] == 1
    assert best_f1(np.zeros(0), np.zeros(0, bool), 1)["recall"] == 0


def test_types_of_errors_by_hand():
    truths = {"v": [("run", 0, 10), ("jump", 20, 30)], "w": []}
    found = {
        "v": [
            ("run", 0, 10, 0.9),
            ("run", 0, 9, 0.8),
            ("run", 20, 30, 0.7),
            ("run", 5, 15, 0.6),
            ("run", 25, 35, 0.5),
            ("run", 9, 20, 0.4),
        ],
        "w": [("run", 0, 10, 0.3)],
    }
    profile = diagnosis_of(truths, found)["false_positives"]
    sevenths = [1, 1, 1, 1, 1, 2]
    assert profile["shares"] == pytest.approx(
        {kind: 100 * count / 7 for kind, count in zip(detad.TYPES, sevenths, strict=True)}
    )
    assert [group["detections"] for group in profile["groups"]] == [1] * 7 + [0] * 3
    assert set(profile["groups"][7]["shares"].values()) == {None}
    # The only truth of run is found first, so no error of its class costs anything.
    assert profile["gain"] == pytest.approx({kind: 0 for kind in detad.TYPES[1:]})


def test_a_tie_of_overlap_falls_to_the_first_truth_or_to_the_own_class():
    truths = {"v": [("run", 0, 10), ("jump", 0, 10)]}
    found = {"v": [("jump", 0, 10, 0.9), ("jump", 0, 9, 0.8)]}
    kinds = []
    for prefer in (False, True):
        shares = diagnosis_of(truths, found, prefer_own_class=prefer)["false_positives"]["shares"]
        kinds.append({kind for kind, share in shares.items() if share})
    assert kinds == [{"true positive", "wrong label"}, {"true positive", "double detection"}]


def test_what_does_not_count_is_counted():
    truths = {"v": [("run", 0, 10), ("run", 0, 200), ("run", 5, 5)], "w": []}
    found = {
        "v": [("run", 0, 10, 0.5), ("run", 10, 0, 0.9), ("run", 3, 3, 0.9), ("hop", 0, 10, 0.9)],
        "w": [("run", 0, 10, 0.4)],
        "x": [("run", 0, 10, 0.9)],
    }
    diagnosis = diagnosis_of(truths, found)
    assert diagnosis["counts"] == {
        "recordings": 2,
        "recordings_missing": 0,
        "classes": 1,
        "ground_truths": 1,
        "ground_truths_left_out": 2,
        "detections": 2,
        "detections_on_other_recordings": 1,
        "detections_with_unknown_label": 1,
        "detections_that_do_not_last": 2,
    }
    assert diagnosis["map_avg"] == pytest.approx(100)
    # The actions that do not count are some of the recording's all the same.
    sizes = diagnosis_of(truths, found, edges={"num_instances": [0, 2, 3]})["sensitivity"]["num_instances"]
    assert [bucket["ground_truths"] for bucket in sizes["buckets"].values()] == [0, 1]


@pytest.mark.parametrize("found", [{}, {"v": []}])
def test_without_detections_nothing_is_found(found):
    diagnosis = diagnosis_of({"v": [("run", 0, 10), ("jump", 0, 4)]}, found)
    assert diagnosis["map_avg"] == 0 and diagnosis["false_negatives"]["missed_avg"] == 100
    profile = diagnosis["false_positives"]
    assert profile["detections"] == 0 and set(profile["shares"].values()) == {None}
    assert diagnosis["sensitivity"]["length"]["lowest_to_base"] is None
    assert diagnosis["calibration"]["expected_error"] is None
    assert diagnosis["confusion"]["missed"] == [1, 1]
    json.dumps(diagnosis, allow_nan=False)


def test_an_unknown_duration_leaves_coverage_out():
    annotations = annotations_of({"v": [("run", 0, 10)]})
    unknown = dataclasses.replace(annotations.recordings["v"], duration_sec=None)
    annotations = dataclasses.replace(annotations, recordings={"v": unknown})
    for edges in ("quantiles", "thumos14"):
        diagnosis = diagnose(annotations, {}, subset="test", tious=[0.5], edges=edges)
        assert list(diagnosis["sensitivity"]) == ["length", "num_instances"]


def test_buckets():
    np.testing.assert_array_equal(
        bucket_of(np.array([0, 3, 3.5, 6, 7, np.nan, -1, np.inf]), (0, 3, 6, np.inf)),
        [0, 0, 1, 1, 2, -1, -1, 2],
    )
    values = np.arange(1.0, 101)
    edges = quantile_edges(values)
    assert edges[0] == 1 and edges[-1] == 100
    np.testing.assert_array_equal(np.bincount(bucket_of(values, edges)), [20] * 5)
    np.testing.assert_array_equal(bucket_of(np.full(3, 2.0), quantile_edges(np.full(3, 2.0))), [0, 0, 0])
    few = np.array([1.0] * 9 + [2, np.nan])
    assert quantile_edges(few) == (1, 1, 2)
    np.testing.assert_array_equal(bucket_of(few, quantile_edges(few)), [0] * 9 + [1, -1])
    assert bucket_names((0, 1, 2, 3)) == ("S", "M", "L") and bucket_names(range(8))[6] == "7"
    assert bucket_names((0, 1, 2), ["short", "long"]) == ("short", "long")


def test_buckets_with_names_of_ones_own():
    edges, names = {"length": [0, 5, 20]}, {"length": ["short", "long"]}
    diagnosis = diagnosis_of(
        {"v": [("run", 0, 10), ("run", 20, 22)]}, {"v": [("run", 0, 10, 0.9)]}, edges=edges, names=names
    )
    assert diagnosis["sensitivity"]["length"] == {
        "buckets": {
            "short": {"above": 0, "up_to": 5, "ground_truths": 1, "map": 0},
            "long": {"above": 5, "up_to": 20, "ground_truths": 1, "map": 100},
        },
        "lowest_to_base": 0,
        "highest_to_base": 2,
        "sensitivity": 100,
        "impact": 50,
    }
    missed = diagnosis["false_negatives"]
    assert missed["buckets"]["length"] == {
        "short": {"share": 50, "missed": 100},
        "long": {"share": 50, "missed": 0},
    }
    assert missed["pairs"] == {}


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (dict(tious=[]), "tious"),
        (dict(at_tiou=0), "at_tiou"),
        (dict(groups=0), "groups"),
        (dict(edges="fifths"), "fifths"),
        (dict(edges={"height": [0, 1]}), "height"),
        (dict(edges={"length": [0, 2, 2]}), "must be two or more that rise"),
        (dict(edges={"length": [0, 2]}, names={"length": ["a", "b"]}), "one a bucket"),
    ],
)
def test_arguments_that_cannot_be(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        diagnosis_of({"v": [("run", 0, 10)]}, {}, **{"tious": [0.5]} | arguments)


def test_a_subset_without_actions_cannot_be_diagnosed():
    with pytest.raises(DataError, match="no ground truth"):
        diagnosis_of({"v": []}, {})


def test_edges_of_a_data_set_are_of_all_characteristics():
    values = {name: np.array([0.5]) for name in ("coverage", "length", "num_instances")}
    for data_set in ("thumos14", "activitynet"):
        assert list(edges_of(data_set, values)) == list(values)


def test_f1_of_each_recording():
    truths = {"a": [("run", 0, 10), ("run", 20, 30)], "b": [("run", 0, 10)], "c": [], "d": []}
    found = {"a": [("run", 0, 10, 0.9)], "b": [("run", 50, 60, 0.8)], "d": [("run", 0, 1, 0.85)], "other": []}
    made = diagnosis_of(truths, found, min_score=0.5)["recordings"]
    assert made["a"] == {"ground_truths": 2, "detections": 1, "right": 1, "f1": pytest.approx(100 * 2 / 3)}
    assert made["b"] == {"ground_truths": 1, "detections": 1, "right": 0, "f1": 0.0}
    assert made["c"]["f1"] is None and made["d"]["f1"] == 0.0 and [*made] == ["a", "b", "c", "d"]
    of_best = diagnosis_of(truths, found)["recordings"]  # from score 0.9 on
    assert of_best["b"]["detections"] == 0
