"""Normalised AP against the published DETAD program."""

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.evaluation.detection import evaluate_detections
from tests.golden_case import GoldenCase

CASES = ["edges", "hand"]  # those that hold their annotations


@pytest.mark.parametrize("name", CASES)
def test_normalised_ap_equals_the_published_programs(name):
    case = GoldenCase.load(f"diagnosis/{name}")
    hyper, videos = case.info["hyper"], case.info["hyper"]["videos"]
    segments, labels, of_video = (case.input(f"gt_{part}") for part in ("segment", "label", "video"))
    recordings = {
        f"{v:04}": Recording(
            name=f"{v:04}",
            subset="test",
            duration_sec=float(case.input("duration")[v]),
            segments_sec=segments[of_video == v],
            labels=labels[of_video == v],
            ignored_sec=np.zeros((0, 2)),
        )
        for v in range(len(videos))
    }
    found = {recording: [] for recording in recordings}
    rows = zip(*(case.input(f"det_{part}").tolist() for part in ("video", "segment", "label", "score")))
    for row, (v, segment, label, score) in enumerate(rows):
        # equal scores rank in the order of the file there, by recording here
        detection = {"label": hyper["classes"][label], "segment": segment, "score": score - 1e-9 * row}
        found[f"{v:04}"].append(detection)
    annotations = Annotations(tuple(hyper["classes"]), recordings)
    result = evaluate_detections(annotations, found, subset="test", tious=hyper["tiou"], protocol="detad")
    values = [list(result["ap"][of_class].values()) for of_class in hyper["classes"]]
    np.testing.assert_allclose(np.transpose(values) / 100, case.arrays["sensitivity_ap"], rtol=0, atol=1e-9)
    expected = case.arrays["sensitivity_average_map"]
    np.testing.assert_allclose(result["map_avg"] / 100, expected, rtol=0, atol=1e-9)
