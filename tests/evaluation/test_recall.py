"""ActionFormer's evaluation, repeated actions left out: mAP and recall@kx, as published and by hand."""

import json

import numpy as np
import pytest

from tal_jax import evaluate, report
from tal_jax.data import load_dataset
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.detections_file import write_detections
from tal_jax.evaluation.detection import evaluate_detections
from tests.evaluation.test_detection import score
from tests.golden_case import GoldenCase

GOLDEN = GoldenCase.load("actionformer/evaluation")
HYPER, TOLERANCES = GOLDEN.info["hyper"], GOLDEN.info["tolerances"]


def test_scores_are_the_published_ones():
    truth, found = (
        {what: GOLDEN.input(f"{side}_{what}") for what in ("video", "segments", "labels")}
        for side in ("truth", "detection")
    )
    recordings, results = {}, {}
    for video in range(HYPER["num_videos"]):
        name, own, rows = f"video {video}", truth["video"] == video, found["video"] == video
        labels = truth["labels"][own].astype(np.int32)
        recordings[name] = Recording(name, "test", None, truth["segments"][own], labels)
        parts = found["labels"][rows], found["segments"][rows], GOLDEN.input("detection_scores")[rows]
        results[name] = [
            {"label": str(label), "segment": segment, "score": value}
            for label, segment, value in zip(*(part.tolist() for part in parts))
        ]
    given = Annotations(tuple(map(str, range(HYPER["num_classes"]))), recordings)
    kept = given.without_duplicates(1e-3)
    counts = [sum(len(r.labels) for r in annotations.recordings.values()) for annotations in (given, kept)]
    assert counts == [HYPER["truth_given"], HYPER["truth_kept"]]
    tious, multiples = HYPER["tiou_thresholds"], HYPER["top_k"]
    result = evaluate_detections(kept, results, subset="test", tious=tious, recall_at=multiples)
    ap = np.array([[*values.values()] for values in result["ap"].values()]).T
    recall = np.array([[*result["recall_at"][f"{k}x"].values()] for k in multiples]).T
    answers = {"map": [*result["map"].values()], "ap": ap, "recall": recall, "average_map": result["map_avg"]}
    assert answers.keys() == {output["name"] for output in GOLDEN.info["outputs"]}
    for name, answer in answers.items():
        np.testing.assert_allclose(np.array(answer) / 100, GOLDEN.arrays[name], **TOLERANCES[name])


def test_recall_by_hand(capsys):
    truths = {"v": [("run", 0, 10), ("run", 20, 30), ("jump", 0, 10)], "w": [("run", 0, 10)], "empty": []}
    found = {
        # the best two of running: one action is found twice, the other by the third one
        "v": [("run", 0, 9, 0.9), ("run", 1, 10, 0.8), ("run", 20, 30, 0.7)],
        "w": [("run", 50, 60, 0.9), ("run", 0, 10, 0.1)],
        "empty": [("run", 0, 10, 1.0)],
    }
    result = score(truths, found, tiou=0.5, recall_at=(1, 2))
    # nothing jumps; of three runs the best 1x find one, the best 2x all
    assert result["recall_at"] == {"1x": {"0.5": pytest.approx(100 / 6)}, "2x": {"0.5": 50.0}}
    assert "recall_at" not in score(truths, found, tiou=0.5)
    assert score(truths, {}, tiou=0.5, recall_at=(1,))["recall_at"] == {"1x": {"0.5": 0.0}}
    # one detection finds both actions that it overlaps enough
    twins = {"v": [("run", 0, 10), ("run", 1, 11)]}
    assert score(twins, {"v": [("run", 0, 11, 0.5)]}, recall_at=(1,))["recall_at"]["1x"]["0.5"] == 100
    report.print_evaluation(result, "scores.json")
    line = next(line for line in capsys.readouterr().out.splitlines() if "recall@1x" in line)
    assert line.count("16.67") == 2


def test_a_config_leaves_repeated_actions_out_of_training_and_scoring(tiny, tiny_data, tmp_path):
    content = json.loads((tiny_data / "labels.json").read_text())
    for entry in content["database"].values():
        entry["annotations"] *= 2
    (tmp_path / "labels.json").write_text(json.dumps(content))
    config = tiny()
    config.data.annotations = str(tmp_path / "labels.json")
    config.evaluate.recall_at = (1,)
    truths = load_dataset(config).annotations.recordings["sunday"]
    names = load_dataset(config).annotations.classes
    labelled = zip(truths.labels, truths.segments_sec.tolist())
    found = [{"label": names[k], "segment": segment, "score": 1.0} for k, segment in labelled]
    write_detections(tmp_path / "found.json", {"sunday": found[: len(found) // 2]})
    scores = {}
    for within_sec in (0.0, 1e-3):
        config.data.duplicate_sec = within_sec
        recordings = load_dataset(config).annotations.recordings
        result = evaluate.evaluate(config, tmp_path / f"scores_{within_sec}", str(tmp_path / "found.json"))
        assert result["counts"]["ground_truths"] == len(recordings["sunday"].labels)
        scores[within_sec] = result
    assert [result["counts"]["ground_truths"] for result in scores.values()] == [len(found), len(found) // 2]
    assert scores[0.0]["map_avg"] < scores[1e-3]["map_avg"] == pytest.approx(100)
    assert (
        scores[1e-3]["protocol"]["duplicate_sec"] == 1e-3 and "duplicate_sec" not in scores[0.0]["protocol"]
    )
    assert json.loads((tmp_path / "scores_0.001" / "evaluation.json").read_text()) == scores[1e-3]
