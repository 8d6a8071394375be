"""Two streams at once, one class for all, and class scores of whole recordings."""

import json

import pytest

from tal_jax import evaluate, train
from tal_jax.data import shapes
from tal_jax.errors import DataError
from tests import tiny_config


@pytest.fixture(scope="module")
def streams(tmp_path_factory):
    """{"rgb", "flow": (config, workdir) of a toy trained on rendered videos}."""
    folder = tmp_path_factory.mktemp("streams")
    shapes.render_all(folder / "frames", subsets={"train": 1, "test": 1}, num_frames=160)
    runs = {}
    for stream in ("rgb", "flow"):
        config = tiny_config.get_config("toy")
        config.data = shapes.data_config()
        config.data.update(frames=str(folder / "frames"), input=stream)
        config.train.epochs = 1
        train.train(config, folder / stream)
        runs[stream] = config, folder / stream
    return runs


def detections(workdir):
    return json.loads((workdir / "detections.json").read_text())["results"]


def test_two_streams_are_fused(streams):
    (config, workdir), (_, second) = streams["rgb"], streams["flow"]
    config = config.copy_and_resolve_references()
    alone = detections(workdir)
    config.evaluate.second_workdir = str(second)
    evaluate.evaluate(config, workdir)
    fused = detections(workdir)
    assert fused.keys() == alone.keys() and fused != alone
    config.evaluate.second_workdir = ""
    evaluate.evaluate(config, workdir)
    assert detections(workdir) == alone
    config.evaluate.second_workdir = str(workdir)
    with pytest.raises(DataError, match="second_workdir holds a run on rgb too; name one on the other stream"):
        evaluate.evaluate(config, workdir)


def test_one_class_for_all_and_scores_of_whole_recordings(streams, tmp_path):
    config, _ = streams["rgb"]
    config = config.copy_and_resolve_references()
    config.data.class_agnostic = True
    result = train.train(config, tmp_path / "run")
    assert list(result["ap"]) == ["action"]
    scores = [0.1] * len(shapes.CLASSES)
    scores[2] = 0.5
    (tmp_path / "scores.json").write_text(json.dumps({"class": shapes.CLASSES, "results": {"test_000": scores}}))
    before = detections(tmp_path / "run")["test_000"]
    config.evaluate.recording_scores = str(tmp_path / "scores.json")
    result = evaluate.evaluate(config, tmp_path / "run")
    assert set(result["ap"]) <= set(shapes.CLASSES)
    after = detections(tmp_path / "run")["test_000"]
    assert [d["score"] * 0.5 for d in before] == pytest.approx([d["score"] for d in after])
    assert {d["label"] for d in after} == {shapes.CLASSES[2]}
