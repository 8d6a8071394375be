"""The ActivityNet protocol against what the evaluator in ECM's published code gives."""

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.sets import thumos14
from tal_jax.evaluation.detection import evaluate_detections
from tests.golden_case import GoldenCase


def annotations_of(case, outside=()):
    """The case's ground truth; the videos named in `outside` belong to another subset."""
    rows = case.arrays["ground_truth"]
    recordings = {}
    for number, name in enumerate(case.info["videos"]):
        of_video = rows[rows[:, 0] == number]
        subset = "another" if name in outside else case.info["subset"]
        recordings[name] = Recording(name, subset, None, of_video[:, 2:], of_video[:, 1].astype(np.int32))
    return Annotations(tuple(case.info["classes"]), recordings)


def results_of(case):
    """The case's detections in the form of a detections file."""
    results = {}
    for video, label, start_sec, end_sec, score in case.arrays["predictions"].tolist():
        detection = {
            "label": case.info["classes"][int(label)],
            "segment": [start_sec, end_sec],
            "score": score,
        }
        results.setdefault(case.info["videos"][int(video)], []).append(detection)
    return results


def assert_scores(case, scored, ap, mean_ap):
    """`ap` (thresholds, K) and `mean_ap` (thresholds,) are fractions; evaluation.json has percent."""
    found = (
        np.array([[scored["ap"][name][key] for name in case.info["classes"]] for key in scored["map"]]) / 100
    )
    np.testing.assert_allclose(found, ap, rtol=0, **case.info["tolerance"])
    np.testing.assert_allclose(
        np.array(list(scored["map"].values())) / 100, mean_ap, rtol=0, **case.info["tolerance"]
    )
    np.testing.assert_allclose(scored["map_avg"] / 100, np.mean(mean_ap), rtol=0, **case.info["tolerance"])


@pytest.mark.parametrize(
    "name, outside", [("map_thumos_full", ()), ("map_anet_style", ()), ("map_edge", ("v9",))]
)
def test_scores_are_the_published_ones(name, outside):
    case = GoldenCase.load(f"ecm/{name}")
    scored = evaluate_detections(
        annotations_of(case, outside), results_of(case),
        subset=case.info["subset"], tious=case.info["tiou"], other_recordings="false positives",
    )  # fmt: skip
    assert scored["counts"]["ground_truths"] == len(case.arrays["ground_truth"])
    assert_scores(case, scored, case.arrays["ap"], case.arrays["map"])
    np.testing.assert_allclose(case.arrays["average_map"], np.mean(case.arrays["map"]))


def test_without_the_other_recordings_the_scores_are_those_of_afsds_evaluator():
    case = GoldenCase.load("ecm/map_edge")
    scored = evaluate_detections(
        annotations_of(case, ("v9",)), results_of(case), subset="test", tious=case.info["tiou"]
    )
    assert scored["counts"]["detections_ignored"]["on_other_recordings"] == 1
    assert_scores(case, scored, case.arrays["ap_afsd"], case.arrays["map_afsd"])


def test_afsds_evaluator_differs_where_a_recording_has_no_actions():
    case = GoldenCase.load("ecm/map_edge")
    annotations, results = annotations_of(case), results_of(case)
    arguments = dict(subset="test", tious=case.info["tiou"])

    scored = evaluate_detections(annotations, results, **arguments)
    assert scored["counts"]["ground_truths"] == 5 and scored["counts"]["detections"] == 10
    # a false positive, as the official evaluator has it
    assert_scores(case, scored, case.arrays["ap"], case.arrays["map"])
    assert scored["map_avg"] < 100 * case.arrays["map_afsd"].mean() - 4

    empty = [name for name, recording in annotations.recordings.items() if not len(recording.labels)]
    scored = evaluate_detections(annotations, results, left_out=empty, **arguments)
    assert_scores(case, scored, case.arrays["ap_afsd"], case.arrays["map_afsd"])


def test_ecms_ground_truth_of_thumos14_is_the_bundled_one():
    case = GoldenCase.load("ecm/map_thumos_full")
    scored = evaluate_detections(
        thumos14.bundled_annotations(), results_of(case), subset="test", tious=case.info["tiou"]
    )
    assert_scores(case, scored, case.arrays["ap"], case.arrays["map"])
