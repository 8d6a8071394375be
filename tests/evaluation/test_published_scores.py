"""The evaluator against scores that other people computed, from files in tests/golden."""

import gzip
import json

import numpy as np
import pytest

from tal_jax.data.annotations import load_annotations
from tal_jax.data.sets import thumos14
from tal_jax.evaluation.detection import evaluate_detections
from tests.golden_case import GOLDEN, GoldenCase

FOLDER = GOLDEN / "thumos14_eval"
REFERENCE = json.loads((FOLDER / "reference.json").read_text())
CLASSES = REFERENCE["classes"]


@pytest.fixture(scope="module")
def ground_truth(tmp_path_factory):
    path = tmp_path_factory.mktemp("thumos14") / "ground_truth.json"
    path.write_bytes(gzip.decompress((FOLDER / "ground_truth.json.gz").read_bytes()))
    return load_annotations(path, classes=CLASSES)


def ap_matrix(scores, classes):
    """(T, K) AP in [0, 1]."""
    return np.array([[scores["ap"][name][key] for name in classes] for key in scores["map"]]) / 100


def results_of(videos, segments_sec, labels, scores):
    results = {}
    for video, segment, label, score in zip(
        *(column.tolist() for column in (videos, segments_sec, labels, scores)), strict=True
    ):
        results.setdefault(f"video_test_{video:07d}", []).append(
            {"label": CLASSES[label], "segment": segment, "score": score}
        )
    return results


def greedy_nms(segments_sec, most_iou):
    """Rows to keep, the best first, of segments ordered from best to worst."""
    rows, kept = np.arange(len(segments_sec)), []
    start, end = segments_sec.T
    length = end - start
    while len(rows):
        best, rows = rows[0], rows[1:]
        kept.append(best)
        shared = np.maximum(np.minimum(end[best], end[rows]) - np.maximum(start[best], start[rows]), 0)
        rows = rows[shared / (length[best] + length[rows] - shared) <= most_iou]
    return np.array(kept)


@pytest.mark.parametrize(
    "network, tiou", [(n, t) for n in ("scnn_c3d", "scnn_res3d") for t in REFERENCE["thumos14"][n]]
)
def test_thumos14_protocol_gives_the_scores_that_the_authors_of_scnn_published(ground_truth, network, tiou):
    with np.load(FOLDER / "scnn.npz") as file:
        columns = [
            file[f"{network}_{field}"] for field in ("video", "label", "start_cs", "length_cs", "score")
        ]
    videos, labels, start_cs, length_cs, scores = columns
    segments_sec = np.stack([start_cs, start_cs + length_cs], axis=1) / 100
    edges = np.flatnonzero((np.diff(videos) != 0) | (np.diff(labels) != 0)) + 1
    groups = np.split(np.arange(len(videos)), edges)
    kept = np.concatenate([rows[greedy_nms(segments_sec[rows], float(tiou) - 0.1)] for rows in groups])
    rounded_sec = np.vectorize(lambda value: float(f"{value:.1f}"))(segments_sec[kept])
    results = results_of(videos[kept], rounded_sec, labels[kept], scores[kept])

    scored = evaluate_detections(
        ground_truth, results, subset="test", tious=[float(tiou)], protocol="thumos14"
    )

    expected = REFERENCE["thumos14"][network][tiou]
    np.testing.assert_allclose(ap_matrix(scored, CLASSES)[0], expected["ap"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(scored["map"][tiou], 100 * expected["map"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("tiou", list(REFERENCE["thumos14"]["cbr"]))
def test_thumos14_protocol_gives_the_scores_of_cbr(ground_truth, tiou):
    with np.load(FOLDER / "cbr.npz") as file:
        in_file = file["files"] >> (round(10 * float(tiou)) - 1) & 1 == 1
        columns = [file[field][in_file] for field in ("video", "segment_sec", "label", "score")]

    scored = evaluate_detections(
        ground_truth, results_of(*columns), subset="test", tious=[float(tiou)], protocol="thumos14"
    )

    np.testing.assert_allclose(
        ap_matrix(scored, CLASSES)[0], REFERENCE["thumos14"]["cbr"][tiou]["ap"], rtol=0, atol=1e-9
    )
    assert scored["counts"]["detections_with_end_before_start"] == 1771


@pytest.mark.parametrize("tiou_of_file", list(REFERENCE["activitynet"]))
def test_activitynet_protocol_gives_what_the_official_evaluator_gives_cbr(ground_truth, tiou_of_file):
    expected = REFERENCE["activitynet"][tiou_of_file]
    with np.load(FOLDER / "cbr.npz") as file:
        rank = file[f"activitynet_rank_{tiou_of_file}"].astype(int)
        columns = [file[field][rank > 0] for field in ("video", "segment_sec", "label", "score")]
    in_their_order = [*columns[:3], -rank[rank > 0]]

    scored = evaluate_detections(
        ground_truth, results_of(*in_their_order), subset="test", tious=expected["tious"]
    )
    by_scores = evaluate_detections(
        ground_truth, results_of(*columns), subset="test", tious=expected["tious"]
    )

    expected_ap = np.array([expected["ap"][name] for name in CLASSES]).T
    np.testing.assert_allclose(ap_matrix(scored, CLASSES), expected_ap, rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        [100 * value for value in expected["map"]], list(by_scores["map"].values()), rtol=0, atol=0.03
    )


def test_activitynet_protocol_gives_what_afsds_evaluator_gives():
    case = GoldenCase.load("afsd/thumos_eval")
    annotations = thumos14.bundled_annotations()
    results = case.json_file("detections.json.gz")["results"]

    scored = evaluate_detections(annotations, results, subset="test", tious=case.info["hyper"]["tiou"])
    fine = evaluate_detections(annotations, results, subset="test", tious=np.linspace(0.5, 0.95, 10))

    np.testing.assert_allclose(
        ap_matrix(scored, case.info["class_order"]), case.arrays["ap"], rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(list(scored["map"].values()), 100 * case.arrays["mAP"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(scored["map_avg"], 100 * case.arrays["average_mAP"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(
        list(fine["map"].values()), 100 * case.arrays["mAP_anet_thresholds"], rtol=0, atol=1e-7
    )
    assert scored["counts"]["recordings"] == case.info["videos_evaluated"]
    assert scored["counts"]["ground_truths"] == case.info["ground_truth_instances"]
    assert scored["counts"]["detections_ignored"] == {"on_other_recordings": 2, "with_unknown_label": 1}
