"""Cases worked by hand, properties, and the comparison with a plain evaluator on random data."""

import dataclasses
import json
import math

import numpy as np
import pytest

from tal_jax import report
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.errors import DataError
from tal_jax.evaluation.detection import DENSE, PROTOCOLS, evaluate_detections, precision_recall
from tests.evaluation.plain_evaluator import plain_ap


def annotations_of(truths, subsets=None):
    """Annotations from {recording: [(label, start_sec, end_sec)]}, all in "test" unless `subsets` says so.

    "Ambiguous" is an ignored label.
    """
    classes = sorted({row[0] for rows in truths.values() for row in rows} - {"Ambiguous"})
    actions = {name: [row for row in rows if row[0] in classes] for name, rows in truths.items()}
    ignored = {name: [row[1:] for row in rows if row[0] not in classes] for name, rows in truths.items()}
    recordings = {
        name: Recording(
            name=name,
            subset=(subsets or {}).get(name, "test"),
            duration_sec=100.0,
            segments_sec=np.array([row[1:] for row in rows], np.float64).reshape(-1, 2),
            labels=np.array([classes.index(row[0]) for row in rows], np.int32),
            ignored_sec=np.array(ignored[name], np.float64).reshape(-1, 2),
        )
        for name, rows in actions.items()
    }
    return Annotations(tuple(classes), recordings)


def results_of(found):
    """Results from {recording: [(label, start_sec, end_sec, score)]}."""
    return {
        name: [{"label": label, "segment": [start, end], "score": score} for label, start, end, score in rows]
        for name, rows in found.items()
    }


def score(truths, found, *, tiou=0.5, **arguments):
    return evaluate_detections(
        annotations_of(truths), results_of(found), subset="test", tious=[tiou], **arguments
    )


def random_case(seed, distinct_scores=False):
    """A small data set full of ties: whole seconds, few scores, reversed and ambiguous segments."""
    rng = np.random.default_rng(seed)
    truths, found = {}, {}
    for name in ("c", "a", "b", "empty"):
        starts, lengths = rng.integers(0, 20, 12), rng.integers(1, 8, 12)
        labels = rng.choice(["run", "jump", "Ambiguous"], 12, p=[0.5, 0.35, 0.15])
        truths[name] = [] if name == "empty" else list(zip(labels, starts, starts + lengths, strict=True))
        starts, ends = rng.integers(0, 25, (2, 60))
        scores = rng.permutation(60) + rng.random() if distinct_scores else rng.integers(0, 12, 60) / 10
        found[name] = list(
            zip(rng.choice(["run", "jump"], 60), starts.tolist(), ends.tolist(), scores.tolist(), strict=True)
        )
    return truths, found


def test_average_precision_by_hand():
    truths = {"v": [("run", 0, 10), ("run", 20, 30)]}
    found = {"v": [("run", 50, 60, 0.9), ("run", 0, 10, 0.8), ("run", 20, 30, 0.7)]}
    # Precision 0, 1/2, 2/3 at the three scores; the truths are found at the second and third.
    assert score(truths, found, protocol="activitynet")["map_avg"] == pytest.approx(100 * (2 / 3 + 2 / 3) / 2)
    assert score(truths, found, protocol="thumos14")["map_avg"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize(
    "what, truths, found, activitynet, thumos14",
    [
        ("tIoU just at the threshold", [("run", 0, 10)], [("run", 0, 5, 0.9)], 100, 0),
        ("end before start", [("run", 0, 10)], [("run", 10, 0, 0.9)], 0, 100),
        ("score NaN", [("run", 0, 10)], [("run", 50, 60, float("nan")), ("run", 0, 10, 0.1)], 50, 100),
        ("detections choose or truths", [("run", 0, 10)], [("run", 0, 6, 0.9), ("run", 0, 10, 0.8)], 100, 50),
        (
            "miss on Ambiguous",
            [("run", 0, 10), ("Ambiguous", 50, 51)],
            [("run", 20, 51, 0.9), ("run", 0, 10, 0.8)],
            50,
            100,
        ),
        ("hit on Ambiguous", [("run", 0, 10), ("Ambiguous", 0, 10)], [("run", 0, 10, 0.8)], 100, 100),
        (
            "found twice",
            [("run", 0, 10), ("run", 20, 30)],
            [("run", 0, 10, 0.9), ("run", 0, 10, 0.8)],
            50,
            50,
        ),
        ("zero length", [("run", 5, 5), ("run", 0, 10)], [("run", 5, 5, 0.9), ("run", 0, 10, 0.8)], 25, 25),
    ],
)
def test_where_the_protocols_decide(what, truths, found, activitynet, thumos14):
    assert score({"v": truths}, {"v": found}, protocol="activitynet")["map_avg"] == pytest.approx(
        activitynet
    ), what
    assert score({"v": truths}, {"v": found}, protocol="thumos14")["map_avg"] == pytest.approx(thumos14), what


@pytest.mark.parametrize("tiou, expected", [(0.3, 100), (0.5, 50)])
def test_a_detection_whose_best_truth_is_taken_gets_the_next_one_above_the_threshold(tiou, expected):
    truths = {"v": [("run", 0, 10), ("run", 5, 15)]}
    found = {"v": [("run", 1, 11, 0.9), ("run", 0, 10, 0.8)]}  # tIoU 0.82 and 0.43; 1 and 1/3
    assert score(truths, found, tiou=tiou)["map_avg"] == pytest.approx(expected)


def test_a_class_without_detections_counts_as_zero():
    scores = score({"v": [("run", 0, 10), ("jump", 20, 30)]}, {"v": [("run", 0, 10, 0.9)]})
    assert scores["ap"] == {"jump": {"0.5": 0.0}, "run": {"0.5": 100.0}}
    assert scores["map"] == {"0.5": 50.0}


def test_equal_scores_rank_by_name_of_recording_then_by_position():
    truths = {"a": [("run", 0, 10)], "b": []}
    hit, miss = ("run", 0, 10, 0.5), ("run", 50, 60, 0.5)
    assert score(truths, {"b": [miss], "a": [hit]})["map_avg"] == 100
    assert score(truths, {"b": [miss], "a": [miss, hit]})["map_avg"] == 50


def test_what_is_not_scored_is_counted():
    annotations = annotations_of(
        {"a": [("run", 0, 10)], "b": [("run", 0, 10), ("Ambiguous", 20, 30)], "c": [("jump", 0, 10)]},
        {"c": "train"},
    )
    results = results_of({
        "a": [("run", 0, 10, 0.5), ("jump", 0, 10, 0.9), ("swim", 0, 10, 0.9), ("Ambiguous", 0, 9, 0.9)],
        "b": [("run", 30, 20, 0.6)], "c": [("run", 0, 10, 0.8)], "elsewhere": [("run", 0, 10, 0.7)],
    })  # fmt: skip

    scores = evaluate_detections(annotations, results, subset="test", tious=[0.5])
    assert scores["map_avg"] == pytest.approx(25)  # b's miss, then a's hit
    assert scores["counts"] == {
        "recordings": 2, "recordings_of_subset": 2, "classes": 1, "ground_truths": 2, "ground_truths_left_out": 0, "ignored_intervals": 1, "detections": 2,
        "detections_with_end_before_start": 1, "detections_with_nan_score": 0,
        "detections_ignored": {"on_other_recordings": 2, "with_unknown_label": 3},
    }  # fmt: skip
    assert scores["protocol"] == {
        "name": "activitynet", "subset": "test", "tiou_thresholds": [0.5], "recordings_left_out": [],
        "recordings_missing": [], "missing": "missed",
        "detections_on_other_recordings": "ignored", "classes_not_scored": ["jump"],
    }  # fmt: skip
    json.dumps(scores, allow_nan=False)

    without_b = evaluate_detections(annotations, results, subset="test", tious=[0.5], left_out=["b"])
    assert without_b["map_avg"] == 100
    assert without_b["protocol"]["recordings_left_out"] == ["b"]

    strict = evaluate_detections(
        annotations, results, subset="test", tious=[0.5], left_out=["b"], other_recordings="false positives"
    )
    assert strict["map_avg"] == pytest.approx(100 / 3)  # the misses on c and elsewhere come before a's hit
    assert strict["counts"]["detections_ignored"]["on_other_recordings"] == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_actions_of_missing_recordings_are_missed_unless_they_are_left_out(protocol):
    truths = {
        "a": [("run", 0, 10)],
        "b": [("run", 0, 10), ("jump", 0, 10)],
        "c": [("run", 0, 10)],
        "d": [("run", 0, 10)],
    }
    found = {"a": [("run", 0, 10, 0.9)], "c": []}
    missed = score(truths, found, protocol=protocol, left_out=["d"])
    assert missed["ap"] == {"jump": {"0.5": 0.0}, "run": {"0.5": pytest.approx(100 / 3)}}
    assert missed["protocol"]["recordings_missing"] == ["b"] and missed["protocol"]["missing"] == "missed"
    assert (missed["counts"]["recordings"], missed["counts"]["recordings_of_subset"]) == (3, 4)

    without = score(truths, found, protocol=protocol, left_out=["d"], missing="left out")
    assert without["ap"] == {"run": {"0.5": 50.0}}  # c has an empty list: nothing was found in it
    assert without["protocol"]["recordings_missing"] == ["b"] and without["protocol"][
        "recordings_left_out"
    ] == ["d"]
    assert (without["counts"]["recordings"], without["counts"]["recordings_of_subset"]) == (2, 4)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(20))
def test_equals_the_plain_evaluator(protocol, seed):
    truths, found = random_case(seed)
    tious = [0.1, 0.25, 0.5, 2 / 3, 1]
    annotations, results = annotations_of(truths), results_of(found)
    scores = evaluate_detections(annotations, results, subset="test", tious=tious, protocol=protocol)
    expected = plain_ap(annotations, results, "test", tious, protocol)
    assert scores["ap"].keys() == expected.keys()
    for label, values in expected.items():
        np.testing.assert_allclose(
            list(scores["ap"][label].values()), np.multiply(100, values), rtol=0, atol=1e-9
        )
    assert scores["map_avg"] == pytest.approx(100 * np.mean(list(expected.values())), abs=1e-9)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_detections_does_not_matter(protocol, seed):
    truths, found = random_case(seed, distinct_scores=True)
    rng = np.random.default_rng(seed)
    names = rng.permutation(list(found)).tolist()
    shuffled = {name: [found[name][i] for i in rng.permutation(len(found[name]))] for name in names}
    assert (
        score(truths, shuffled, tiou=0.3, protocol=protocol)["ap"]
        == score(truths, found, tiou=0.3, protocol=protocol)["ap"]
    )


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(5))
def test_false_positives_below_all_others_change_nothing_and_above_them_lower_the_score(protocol, seed):
    truths, found = random_case(seed)
    before = score(truths, found, tiou=0.3, protocol=protocol)["ap"]
    after = {}
    for value in (-1.0, 9.0):
        more = {name: [*rows, ("run", 1000, 1001, value)] for name, rows in found.items()}
        after[value] = score(truths, more, tiou=0.3, protocol=protocol)["ap"]
    assert after[-1.0] == before
    assert after[9.0]["run"]["0.3"] < before["run"]["0.3"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(5))
def test_the_ground_truth_itself_scores_100(protocol, seed):
    truths, _ = random_case(seed)
    found = {name: [(*row, 0.5) for row in rows if row[0] != "Ambiguous"] for name, rows in truths.items()}
    assert score(truths, found, tiou=0.95, protocol=protocol)["map"] == {"0.95": 100.0}


def test_normalised_ap_leaves_out_what_has_no_length_and_counts_it():
    """N = 1.5. Of run, one of two truths is found first: R N / (R N + FP) = 1 up to half the truths."""
    truths = {"v": [("run", 0, 10), ("run", 20, 30), ("jump", 0, 10), ("jump", 0, 200)]}  # v has 100 s
    found = {"v": [("run", 0, 10, 0.9), ("run", 5, 3, 0.8), ("run", 50, 60, 0.7), ("run", 20, 30, 0.6)]}
    result = score(truths, found, protocol="detad")
    assert result["ap"]["run"]["0.5"] == pytest.approx(100 * (1 + 1.5 / (1.5 + 1)) / 2)
    counts = result["counts"]
    assert (counts["detections"], counts["detections_with_end_before_start"]) == (4, 1)
    assert (counts["ground_truths"], counts["ground_truths_left_out"]) == (3, 1)


def test_normalised_ap_of_recordings_of_unknown_length():
    annotations = annotations_of({"v": [("run", 0, 10)]})
    recording = dataclasses.replace(annotations.recordings["v"], duration_sec=None)
    annotations = dataclasses.replace(annotations, recordings={"v": recording})
    found = results_of({"v": [("run", 0, 10, 0.9)]})
    result = evaluate_detections(annotations, found, subset="test", tious=[0.5], protocol="detad")
    assert result["map_avg"] == 100


def test_no_detections_at_all_score_0():
    assert score({"v": [("run", 0, 10)]}, {}, protocol="thumos14")["map_avg"] == 0
    assert score({"v": [("run", 0, 10)]}, {"v": []}, protocol="activitynet")["map_avg"] == 0


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        (dict(protocol="coco"), ValueError, "activitynet, thumos14, detad"),
        (dict(tious=[]), ValueError, "tious"),
        (dict(tious=[50]), ValueError, "up to 1"),
        (dict(other_recordings="yes"), ValueError, "other_recordings"),
        (dict(missing="dropped"), ValueError, "missing is 'dropped'; it must be one of missed, left out"),
        (
            dict(missing="left out"),
            DataError,
            "All 1 recordings of subset 'test' are missing, the first is 'v'",
        ),
        (dict(left_out=["w"]), DataError, "'w'"),
        (dict(left_out=["v"]), DataError, "'test'"),
        (dict(subset="validation"), DataError, "'validation'"),
    ],
)
def test_errors_name_what_is_wrong(arguments, error, words):
    annotations = annotations_of({"v": [("run", 0, 10)]})
    with pytest.raises(error, match=words):
        evaluate_detections(annotations, {}, **{"subset": "test", "tious": [0.5]} | arguments)


# Dense detections


def dense_case():
    """(truths, detections) of two actions: each is found well, with a high score, by four that overlap, the
    closest the lowest.
    """
    truths = {"v": [("run", 0, 10), ("run", 20, 30)]}
    found = [("run", start + i, start + 10 + i, 0.9 - 0.2 * (3 - i)) for start in (0, 20) for i in range(4)]
    return truths, {"v": found}


def test_the_devkit_takes_the_closest_detection_whatever_its_score(capsys):
    truths, found = dense_case()
    activitynet, devkit = (
        score(truths, found, tiou=0.5, protocol=protocol) for protocol in ("activitynet", "thumos14")
    )
    assert activitynet["map_avg"] == 100  # the best two have tIoU 7 / 13
    assert devkit["map_avg"] == pytest.approx(100 * (1 / 7 + 2 / 8) / 2)  # the last two of eight
    assert devkit["counts"]["detections_per_truth_found"] == 4 >= DENSE
    assert "detections_per_truth_found" not in activitynet["counts"]
    report.print_evaluation(devkit, "scores.json")
    assert (
        "These detections are dense: 4.0 of its class overlap each action that is found."
        in capsys.readouterr().out
    )
    suppressed = score(truths, found, tiou=0.5, protocol="thumos14", devkit_keep=0.5)
    report.print_evaluation(suppressed, "scores.json")
    assert "dense" not in capsys.readouterr().out
    assert suppressed["map_avg"] == 100 and suppressed["counts"]["detections_per_truth_found"] == 1
    assert suppressed["protocol"]["devkit_keep"] == 0.5 and "devkit_keep" not in activitynet["protocol"]


def test_suppression_keeps_recordings_and_classes_apart_and_ranks_nan_last():
    truths = {"v": [("run", 0, 10), ("jump", 0, 10)], "w": [("run", 0, 10)]}
    found = {
        "v": [("run", 0, 10, 0.5), ("run", 9, 0, math.nan), ("jump", 0, 10, 0.4)],
        "w": [("run", 0, 10, 0.3), ("run", 40, 50, 0.1), ("run", 40, 50, 0.2)],
    }
    result = score(truths, found, tiou=0.5, protocol="thumos14", devkit_keep=0.9)
    assert result["map_avg"] == 100 and result["counts"]["detections_per_truth_found"] == 1


@pytest.mark.parametrize("keep", [0, 1.5, math.nan])
def test_a_tiou_of_suppression_that_cannot_be(keep):
    with pytest.raises(ValueError, match="devkit_keep is .*; it must be above 0 and at most 1"):
        score({"v": [("run", 0, 10)]}, {}, protocol="thumos14", devkit_keep=keep)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("seed", range(3))
def test_the_area_under_precision_and_recall_is_the_ap(protocol, seed):
    truths, found = random_case(seed)
    how = dict(subset="test", tious=[0.1, 0.5], protocol=protocol, other_recordings="false positives")
    annotations, results = annotations_of(truths), results_of(found)
    scores, curves = (
        function(annotations, results, **how) for function in (evaluate_detections, precision_recall)
    )
    assert curves.keys() == scores["ap"].keys() == {"run", "jump"}
    for name, of_class in curves.items():
        for threshold, (recall, precision) in of_class.items():
            area = np.sum(np.diff(recall, prepend=0) * precision)
            assert 100 * area == pytest.approx(scores["ap"][name][threshold])
            assert np.all(np.diff(recall) > 0) and np.all((precision > 0) & (precision <= 1))


def test_precision_and_recall_by_hand():
    truths = {"v": [("run", 0, 10), ("run", 20, 30), ("run", 40, 50)]}
    found = {"v": [("run", 0, 10, 0.9), ("run", 60, 70, 0.8), ("run", 20, 30, 0.7)]}
    curves = precision_recall(annotations_of(truths), results_of(found), subset="test", tious=[0.5])
    recall, precision = curves["run"]["0.5"]
    np.testing.assert_allclose(recall, [1 / 3, 2 / 3])
    np.testing.assert_allclose(precision, [1, 2 / 3])
