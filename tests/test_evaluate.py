"""Two streams at once, one class for all, class scores of whole recordings, and what proposals became."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

from tal_jax import diagnose, evaluate, propose, report, train
from tal_jax.data import dataset_annotations, load_dataset
from tal_jax.data.detections_file import write_detections
from tal_jax.data.proposals import Proposals, write_proposals
from tal_jax.data.sets import shapes
from tal_jax.errors import DataError
from tal_jax.evaluation.proposals import evaluate_proposals
from tal_jax.run_config import stored_config
from tal_jax.systems import require_valid
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
    with pytest.raises(
        DataError, match="second_workdir holds a run on rgb too; name one on the other stream"
    ):
        evaluate.evaluate(config, workdir)


def test_a_second_stream_reads_what_it_was_trained_on(streams, tmp_path):
    """Not what the first one reads, as `load_run` asks for."""
    (config, workdir), (_, second) = streams["rgb"], streams["flow"]
    for folder in (workdir, second):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("checkpoints"))
    path = tmp_path / "flow" / "config.json"
    run = json.loads(path.read_text())
    run["config"]["data"].update(fps=5.0, file_prefix="f_", frames=str(tmp_path))
    path.write_text(json.dumps(run))
    asked = stored_config(workdir)
    asked.evaluate.second_workdir = str(tmp_path / "flow")
    first, other = evaluate.find_runs(asked, tmp_path / "rgb")
    assert (other.config.data.fps, other.config.data.file_prefix) == (5.0, "f_")
    assert other.config.data.frames == str(tmp_path)
    assert first.config.data == config.data


def test_one_class_for_all_and_scores_of_whole_recordings(streams, tmp_path):
    config, _ = streams["rgb"]
    config = config.copy_and_resolve_references()
    config.data.class_agnostic = True
    result = train.train(config, tmp_path / "run")
    assert list(result["ap"]) == ["action"]
    scores = [0.1] * len(shapes.CLASSES)
    scores[2] = 0.5
    (tmp_path / "scores.json").write_text(
        json.dumps({"class": shapes.CLASSES, "results": {"test_000": scores}})
    )
    before = detections(tmp_path / "run")["test_000"]
    config.evaluate.recording_scores = str(tmp_path / "scores.json")
    result = evaluate.evaluate(config, tmp_path / "run")
    assert set(result["ap"]) <= set(shapes.CLASSES)
    after = detections(tmp_path / "run")["test_000"]
    assert [d["score"] * 0.5 for d in before] == pytest.approx([d["score"] for d in after])
    assert {d["label"] for d in after} == {shapes.CLASSES[2]}
    config.evaluate.update(classes_per_recording=2, recording_score_power=0.5)
    evaluate.evaluate(config, tmp_path / "run")
    twice = detections(tmp_path / "run")["test_000"]
    assert [d["label"] for d in twice] == [shapes.CLASSES[k] for k in (2, 0) for _ in before]
    expected = [(d["score"] * p) ** 0.5 for p in (0.5, 0.1) for d in before]
    assert [d["score"] for d in twice] == pytest.approx(expected)


@pytest.fixture(scope="module")
def refined(tiny, tmp_path_factory):
    """{"rgb", "flow": (config, workdir, evaluation)} of P-GCN on the first two of three channels, and on the
    third; of one class.

    The proposals of no class are the actions, shifted by a fifth, and a long one.
    """
    folder = tmp_path_factory.mktemp("refined")
    dataset, proposals = load_dataset(tiny()), {}
    annotations = dataset.annotations
    for name, recording in annotations.recordings.items():
        signal = dataset.read(name)
        np.savez(folder / f"{name}.npz", rgb=signal[:, :2], flow=signal[:, 2:])
        segments = np.concatenate(
            [recording.segments_sec + 0.2 * np.diff(recording.segments_sec), [[0.0, 8.0]]]
        )
        proposals[name] = Proposals(
            np.minimum(segments, recording.duration_sec), np.linspace(1, 0.5, len(segments))
        )
    write_proposals(folder / "proposals.json", proposals, annotations)
    runs = {}
    for stream in ("rgb", "flow"):
        config = tiny("pgcn", epochs=1)
        config.proposals = str(folder / "proposals.json")
        config.data.update(features=str(folder), stream=stream, class_agnostic=True)
        config.decode.nms_tiou = config.decode.fused_nms_tiou
        runs[stream] = config, folder / stream, train.train(config, folder / stream)
    return runs


def test_features_of_two_streams_are_fused_in_any_order(refined):
    fused = []
    for stream, other in (("rgb", "flow"), ("flow", "rgb")):
        config, workdir, _ = refined[stream]
        config = config.copy_and_resolve_references()
        alone = detections(workdir)["sunday"]
        config.evaluate.second_workdir = str(refined[other][1])
        evaluate.evaluate(config, workdir)
        fused.append(detections(workdir)["sunday"])
        assert fused[-1] != alone
    assert {d["label"] for d in fused[0]} == {"action"}
    for first, second in zip(*fused, strict=True):
        np.testing.assert_allclose(
            [*first["segment"], first["score"]], [*second["segment"], second["score"]], rtol=1e-4
        )
    config.evaluate.second_workdir = str(workdir)
    with pytest.raises(
        DataError, match="second_workdir holds a run on flow too; name one on the other stream"
    ):
        evaluate.evaluate(config, workdir)


def test_proposals_are_scored_before_and_after(refined, tmp_path, capsys):
    config, workdir, result = refined["rgb"]
    dataset = load_dataset(config)
    given = {name: found.take(slice(2)) for name, found in dataset.proposals.items()}
    config = config.copy_and_resolve_references()
    # but one action in the test recording is found by the first, one by the second
    config.decode.proposals = 2
    annotations = dataset.annotations
    segments = [[1.5, 4.2], [0.0, 8.0]]
    results = {"sunday": [{"label": "action", "segment": segment, "score": 0.5} for segment in segments]}
    found = evaluate.score_proposals(config, dataset, results)
    assert found["proposals"] == evaluate_proposals(annotations, given, subset="test")
    assert found["proposals"]["recall"]["0.6"] == 100 and found["proposals"]["recall"]["0.7"] == 0
    assert found["detections"]["recall"]["0.6"] == 50 and found["detections"]["counts"]["proposals"] == 2
    assert (
        result["proposals"].keys() == found.keys()
        and result["proposals"]["proposals"]["counts"]["proposals"] == 3
    )

    report.print_evaluation(result, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    for line in ("detections", "AR@1 ", "AR@100", "AUC", "recall at tIoU 0.5", "number of proposals"):
        assert any(line in printed for printed in lines), line
    report.print_proposals(None, "proposals.json")
    assert capsys.readouterr().out == "Written: proposals.json\n"
    config.evaluate.missing = "forgotten"
    with pytest.raises(
        DataError, match="config.evaluate.missing is 'forgotten'; it must be one of missed, left out"
    ):
        evaluate.evaluate(config, workdir)


def test_recordings_that_the_data_leave_out_are_not_scored(tiny, tmp_path):
    write_detections(
        tmp_path / "found.json", {"tuesday": [{"label": "fast", "segment": [0.8, 4.0], "score": 1.0}]}
    )
    config = tiny()
    config.data.update(test_subset="train", left_out=("monday", "sunday"))
    result = evaluate.evaluate(config, tmp_path / "scored", tmp_path / "found.json")
    assert result["protocol"]["recordings_left_out"] == ["monday"] and result["counts"]["ground_truths"] == 4
    assert set(load_dataset(config).annotations.recordings) == {"tuesday"}
    config.data.left_out = ("monday", "nowhere")
    for read in (load_dataset, dataset_annotations):
        with pytest.raises(
            DataError, match="config.data.left_out names 'nowhere', which is no recording of the annotations"
        ):
            read(config)


def test_detections_of_recordings_called_otherwise_are_scored(tiny, tmp_path):
    config, found = tiny(), [{"label": "slow", "segment": [1.0, 4.0], "score": 1.0}]
    write_detections(tmp_path / "found.json", {"v_Sunday.mp4": found})
    result = evaluate.evaluate(config, tmp_path / "scored", tmp_path / "found.json")
    assert result["protocol"]["recordings_missing"] == [] and result["counts"]["detections"] == 1
    assert detections(tmp_path / "scored") == {"sunday": found}
    write_detections(tmp_path / "found.json", {"someday": found})
    with pytest.raises(
        DataError, match="none of its recordings is in the annotations. Its first is 'someday'"
    ):
        evaluate.evaluate(config, tmp_path / "other", tmp_path / "found.json")


@pytest.mark.parametrize(
    "name, protocol", [("detections.json", "activitynet"), ("evaluation_thumos14.json", "thumos14")]
)
def test_detections_are_not_overwritten_by_what_is_written(tiny, tmp_path, name, protocol):
    config, path = tiny(), tmp_path / name
    config.evaluate.protocol = protocol
    path.write_text(
        json.dumps({"results": {"sunday": [{"label": "slow", "segment": [1, 4], "score": 1}]}, "mine": 3})
    )
    before = path.read_bytes()
    with pytest.raises(
        DataError, match=f"--detections=.*{name} would be overwritten, .* choose another --workdir"
    ):
        evaluate.evaluate(config, tmp_path, path)
    assert [file.name for file in tmp_path.iterdir()] == [name] and path.read_bytes() == before


@pytest.mark.parametrize("field", ["data.annotations", "evaluate.recording_scores"])
def test_what_the_config_names_is_not_overwritten(tiny, tiny_data, tmp_path, field):
    config = tiny()
    shutil.copy(tiny_data / "labels.json", tmp_path / "detections.json")
    config.update_from_flattened_dict({field: str(tmp_path / "detections.json")})
    for run in (evaluate.evaluate, train.train):
        with pytest.raises(DataError, match=f"--config.{field}=.*detections.json would be overwritten"):
            run(config, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["detections.json"]


def test_times_that_cannot_be_scored_are_told_once(tiny, tiny_data, tmp_path, caplog):
    config, path = tiny(), tmp_path / "found.json"
    content = json.loads((tiny_data / "labels.json").read_text())
    for segment in ([5.0, 2.0], [1000.0, 4000.0], [8.0, 9.5]):  # the recording lasts 9 s
        content["database"]["sunday"]["annotations"].append({"label": "slow", "segment": segment})
    (tmp_path / "labels.json").write_text(json.dumps(content))
    write_detections(path, {"sunday": [{"label": "slow", "segment": [1000, 4000], "score": 1.0}]})
    evaluate.evaluate(config, tmp_path / "one", path)
    assert caplog.messages == [
        f"{path}: 1 of 1 detections lie outside their recording or end before they start; are the times in "
        f"seconds?"
    ]
    caplog.clear()
    config.data.annotations = str(tmp_path / "labels.json")
    write_detections(path, {"sunday": []})
    evaluate.evaluate(config, tmp_path / "two", path)
    assert caplog.messages == [
        "Recording 'sunday' has 'slow' from 5 s to 2 s: the end is not after the start. --mode=check_data "
        "lists such "
        "problems; here, in the test subset: 2.",
        f"{path}: there is no detection in it.",
    ]


def test_ambiguous_intervals_of_ones_own_annotations(tiny, tmp_path, capsys):
    rows = [("slow", 1.0, 4.0), ("Ambiguous", 5.0, 6.0)]
    annotations = [{"label": label, "segment": segment} for label, *segment in rows]
    database = {"sunday": {"subset": "test", "duration": 9.0, "annotations": annotations}}
    (tmp_path / "mine.json").write_text(json.dumps({"database": database}))
    found = [
        {"label": "slow", "segment": segment, "score": score}
        for segment, score in (([5.5, 8.0], 0.9), ([1.0, 4.0], 0.8))
    ]
    write_detections(tmp_path / "found.json", {"sunday": found})
    config = tiny()
    config.data.annotations = str(tmp_path / "mine.json")
    # the devkit leaves out what touches an ambiguous interval
    expected = {"detad": 50, "activitynet": 50, "thumos14": 100}
    for protocol, score in expected.items():
        config.evaluate.protocol = protocol
        result = evaluate.evaluate(config, tmp_path / "scored", tmp_path / "found.json")
        assert list(result["ap"]) == ["slow"] and result["map_avg"] == score
        assert json.loads(evaluate.path_of(tmp_path / "scored", config.evaluate).read_text()) == result
        assert result["counts"]["ground_truths"] == result["counts"]["ignored_intervals"] == 1
        report.print_evaluation(result, tmp_path)
        assert "Intervals with an ignored label (config.data.ignored_labels): 1." in capsys.readouterr().out
    before = evaluate.path_of(tmp_path / "scored", config.evaluate).read_bytes()
    config.evaluate.devkit_keep = 0.5
    evaluate.evaluate(config, tmp_path / "scored", tmp_path / "found.json")
    suppressed = json.loads((tmp_path / "scored" / "evaluation_thumos14_keep0.5.json").read_text())
    assert suppressed["protocol"]["devkit_keep"] == 0.5
    of_detad = config.evaluate.copy_and_resolve_references()
    of_detad.protocol = "detad"  # which suppresses nothing
    assert evaluate.path_of("scored", of_detad).name == "evaluation_detad.json"
    assert (tmp_path / "scored" / "evaluation_thumos14.json").read_bytes() == before
    kept = json.loads((tmp_path / "scored" / "evaluation.json").read_text())  # beside that of the devkit
    assert kept["protocol"]["name"] == "activitynet"
    write_detections(tmp_path / "found.json", {"sunday": [d | {"label": "action"} for d in found]})
    config.data.class_agnostic = True
    result = evaluate.evaluate(config, tmp_path / "scored", tmp_path / "found.json")
    assert result["ap"] == {"action": dict.fromkeys(result["map"], 100)}


def test_detections_are_diagnosed(tiny, tmp_path, capsys, monkeypatch):
    """Both actions are found; of the other detections one has the wrong label, one is background."""
    found = [
        ("slow", 1.0, 4.0, 0.9),
        ("fast", 5.0, 8.0, 0.2),
        ("slow", 5.1, 7.9, 0.8),
        ("slow", 8.5, 9.0, 0.7),
    ]
    rows = [dict(label=label, segment=[start, end], score=score) for label, start, end, score in found]
    write_detections(tmp_path / "found.json", {"sunday": rows})
    made = diagnose.diagnose(tiny(), tmp_path / "run", str(tmp_path / "found.json"), figures="svg")
    assert {path.suffix for path in (tmp_path / "run" / "figures").iterdir()} == {".svg"}
    shares = made["false_positives"]["shares"]
    assert [shares[kind] for kind in ("true positive", "wrong label", "background")] == [50, 25, 25]
    assert made["boundary_errors"]["classes"]["slow"]["start_sec"]["50%"] == 0
    assert json.loads(diagnose.path_of(tmp_path / "run").read_text()) == made
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "run" / "figures").iterdir()}
    with monkeypatch.context() as patched:  # an evaluation has diagnosed: that is not done a second time
        patched.setattr(diagnose, "diagnosis_of", None)
        diagnose.diagnose(tiny(), tmp_path / "run", str(tmp_path / "found.json"), figures="svg", again=False)
    assert drawn == {path.name: path.read_bytes() for path in (tmp_path / "run" / "figures").iterdir()}
    report.print_diagnosis(made, diagnose.path_of(tmp_path / "run"))
    printed = capsys.readouterr().out
    assert "wrong label" in printed and "length" in printed and "diagnosis.json" in printed
    with pytest.raises(DataError, match="holds no detections.json; run --mode=evaluate first, or name"):
        diagnose.diagnose(tiny(), tmp_path / "other")
    write_detections(tmp_path / "none.json", {})
    made = diagnose.diagnose(tiny(), tmp_path / "run", str(tmp_path / "none.json"))
    report.print_diagnosis(made, "there")
    printed = capsys.readouterr().out
    assert "100.0 % of 2 actions are missed" in printed and "Scores differ" not in printed
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(DataError, match="holds a trained run, whose diagnosis would be lost; choose another"):
        diagnose.diagnose(tiny(), tmp_path / "run", str(tmp_path / "none.json"))


@pytest.fixture(scope="module")
def one_missing(tiny, tiny_data, tmp_path_factory):
    """(config, workdir, evaluation) of a toy whose test subset is sunday and "holiday", which has actions but
    no features.
    """
    folder = tmp_path_factory.mktemp("one_missing")
    content = json.loads((tiny_data / "labels.json").read_text())
    content["database"]["holiday"] = content["database"]["sunday"]
    (folder / "labels.json").write_text(json.dumps(content))
    config = tiny(epochs=2)
    config.data.update(annotations=str(folder / "labels.json"), allow_missing=True)
    return config, folder / "run", train.train(config, folder / "run")


def test_recordings_without_features_are_missed_by_default(one_missing, capsys):
    config, workdir, result = one_missing
    assert result["counts"]["recordings"] == 2 and result["counts"]["ground_truths"] == 4
    assert (
        result["protocol"]["recordings_missing"] == ["holiday"]
        and result["protocol"]["recordings_left_out"] == []
    )
    assert list(detections(workdir)) == ["sunday"]
    logged = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert logged[-1]["map_avg"] == pytest.approx(result["map_avg"])
    kept = [
        json.loads(path.read_text())["map_avg"]
        for path in (workdir / "checkpoints" / "best").rglob("metrics/metrics")
    ]
    assert kept == [result["map_avg"]]
    report.print_evaluation(result, workdir)
    out = " ".join(capsys.readouterr().out.split())
    assert "2 of 2 recordings, 1 of them missed" in out
    line = (
        "Recordings without features or not in the file: 1, the first is 'holiday'; their actions count as "
        "missed"
    )
    assert f"{line} (config.evaluate.missing)." in out


def test_recordings_without_features_can_be_left_out(one_missing, tmp_path, capsys):
    config, workdir, missed = one_missing
    config = config.copy_and_resolve_references()
    config.evaluate.missing = "left out"
    result = evaluate.evaluate(config, workdir)
    assert result["counts"]["recordings"] == 1 and result["counts"]["ground_truths"] == 2
    report.print_evaluation(result, workdir)
    out = " ".join(capsys.readouterr().out.split())
    assert "1 of 2 recordings" in out and "'holiday'; they are left out (config.evaluate.missing)." in out
    # a file that lacks the recording
    again = evaluate.evaluate(config, tmp_path / "scored", workdir / "detections.json")
    assert again == result
    config.evaluate.missing = "missed"
    assert evaluate.evaluate(config, tmp_path / "scored", workdir / "detections.json") == missed
    config.data.left_out = ("holiday",)
    explicit = evaluate.evaluate(config, tmp_path / "scored", workdir / "detections.json")
    assert explicit["map"] == result["map"] and explicit["protocol"]["recordings_left_out"] == ["holiday"]
    config.evaluate.missing = "forgotten"
    with pytest.raises(
        DataError, match="config.evaluate.missing is 'forgotten'; it must be one of missed, left out"
    ):
        evaluate.evaluate(config, tmp_path / "scored", workdir / "detections.json")


def test_a_run_is_scored_where_the_training_recordings_are_not(one_missing, tiny_data, tmp_path):
    config, workdir, expected = one_missing
    (tmp_path / "sunday.npy").write_bytes((tiny_data / "sunday.npy").read_bytes())
    config = config.copy_and_resolve_references()
    config.data.update(features=str(tmp_path), allow_missing=False, left_out=("holiday",))
    said = ["data.features", "data.allow_missing"]
    result = evaluate.evaluate(config, workdir, said=[*said, "data.left_out"])
    assert result["counts"]["recordings"] == 1 and result["map_avg"] > expected["map_avg"]
    config.data.left_out = ()
    with pytest.raises(
        DataError, match=r"1 of 2 recordings have no feature file .* \(the first is 'holiday'\)"
    ):
        evaluate.evaluate(config, workdir, said=said)


def test_the_recall_of_proposals_counts_missing_recordings_too(one_missing):
    config, _, _ = one_missing
    dataset = load_dataset(config)
    truths = dataset.annotations.recordings["sunday"].segments_sec
    given = {name: Proposals(truths, np.ones(2)) for name in dataset.annotations.recordings}
    config = config.copy_and_resolve_references()
    config.decode.proposals = 2
    found = [{"label": "slow", "segment": segment, "score": 0.5} for segment in truths.tolist()]
    arguments = dataclasses.replace(dataset, proposals=given), {"sunday": found}
    for missing, recall in (("missed", 50), ("left out", 100)):
        config.evaluate.missing = missing
        for scores in evaluate.score_proposals(config, *arguments).values():
            assert scores["recall"]["0.9"] == recall


def test_a_segment_of_several_classes_is_one_proposal():
    rows = [("a", [1, 2], 0.5), ("b", [1, 2], 0.7), ("a", [1, 3], 0.6), ("b", [1, 3], 0.1)]
    found = evaluate.as_proposals(
        [{"label": label, "segment": segment, "score": score} for label, segment, score in rows]
    )
    np.testing.assert_array_equal(found.segments_sec, [[1, 2], [1, 3]])
    np.testing.assert_array_equal(found.scores, [0.7, 0.6])
    assert evaluate.as_proposals([]).segments_sec.shape == (0, 2)


# What is checked before anything is detected


def relabelled(path, content, rename):
    """Writes the annotations with other names of classes; an action of the class None is left out. Returns
    the path.
    """
    database = {}
    for name, recording in content["database"].items():
        actions = [a | {"label": rename.get(a["label"], a["label"])} for a in recording["annotations"]]
        database[name] = recording | {"annotations": [a for a in actions if a["label"]]}
    path.write_text(json.dumps({"database": database}))
    return str(path)


def test_annotations_of_another_data_set_are_matched_by_name(one_missing, tmp_path, capsys):
    """A class of the run that does not occur is not scored, whatever the order of the others."""
    config, workdir, whole = one_missing
    config = config.copy_and_resolve_references()
    content = json.loads(pathlib.Path(config.data.annotations).read_text())
    # of the two classes, the second
    config.data.annotations = relabelled(tmp_path / "slow.json", content, {"fast": None})
    result = evaluate.evaluate(config, workdir, said=["data.annotations"])
    assert result["ap"] == {"slow": whole["ap"]["slow"]} and result["protocol"]["classes_not_scored"] == [
        "fast"
    ]
    assert {d["label"] for d in detections(workdir)["sunday"]} == {"fast", "slow"}
    report.print_evaluation(result, workdir)
    assert (
        "Classes without an action to score against in the subset, not scored: fast."
        in capsys.readouterr().out
    )
    before = (workdir / "detections.json").read_text()
    config.data.annotations = relabelled(tmp_path / "jump.json", content, {"fast": "jump"})
    with pytest.raises(
        DataError,
        match="'(sunday|holiday)' has the class 'jump', which the run was not trained on; it knows fast, slow",
    ):
        evaluate.evaluate(config, workdir, said=["data.annotations"])
    assert (workdir / "detections.json").read_text() == before


@pytest.mark.parametrize(
    "scores, sentence",
    [
        (
            {"class": ["fast", "slow"], "results": {"sunday": [-0.5, -0.1]}},
            "has a negative score, -0.1, of recording 'sunday'",
        ),
        (
            {"class": ["fast", "fast"], "results": {"sunday": [0.5, 0.1]}},
            "has the class 'fast' more than once",
        ),
        (
            {"class": "ab", "results": {"sunday": [0.5, 0.1]}},
            "must be a list of names of classes, found 'ab'",
        ),
        (
            {"class": ["fast", 2], "results": {"sunday": [0.5, 0.1]}},
            "must be a list of names of classes, found 2",
        ),
        (
            {"class": ["run", "slow"], "results": {"sunday": [0.5, 0.1]}},
            "do not have the best class of 1 of 1 recordings, the first is 'run' of 'sunday'; they have",
        ),
        (
            {"class": ["fast", "slow"], "results": {"monday": [0.5, 0.1]}},
            "lacks 1 of 1 recordings; the first is 'sunday'",
        ),
    ],
)
def test_class_scores_are_read_before_training_and_before_detecting(one_missing, tmp_path, scores, sentence):
    config, workdir, _ = one_missing
    config = config.copy_and_resolve_references()
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    config.evaluate.recording_scores = str(tmp_path / "scores.json")
    before = (workdir / "detections.json").read_text()
    for use, folder in ((evaluate.evaluate, workdir), (train.train, tmp_path / "run")):
        with pytest.raises(DataError, match=sentence):
            use(config, folder)
    assert (workdir / "detections.json").read_text() == before and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        (
            "protocol",
            "thumos",
            "config.evaluate.protocol is 'thumos'; it must be one of activitynet, thumos14, detad",
        ),
        ("tious", (0.5, 5.0), "each of its numbers must be above 0 and at most 1"),
        ("recording_scores", "nowhere.json", "Cannot read the recording scores file nowhere.json"),
    ],
)
def test_what_only_the_score_needs_is_checked_first(one_missing, tiny, tmp_path, field, value, sentence):
    config, workdir, _ = one_missing
    config = config.copy_and_resolve_references()
    config.evaluate[field] = value
    before = (workdir / "detections.json").read_text()
    for use, folder in ((evaluate.evaluate, workdir), (train.train, tmp_path / "run")):
        with pytest.raises(DataError, match=sentence):
            use(config, folder)
    assert (workdir / "detections.json").read_text() == before and not (tmp_path / "run").exists()
    config = tiny("pgcn")
    config.evaluate[field] = value
    with pytest.raises(DataError, match=sentence):
        require_valid(config, training=True)
        propose.with_first_stage(config, tmp_path / "run", "train")
    assert not (tmp_path / "run").exists()


def test_a_config_with_a_class_too_many_does_not_fit_its_checkpoint(one_missing, tmp_path):
    config, workdir, _ = one_missing
    shutil.copytree(workdir, tmp_path / "run")
    run = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(run | {"classes": [*run["classes"], "jump"]}))
    sentence = (
        r"tells of \(toy, 3 classes: fast, slow, jump\): its params/Conv_0/bias has the shape \(3,\), not "
        r"\(4,\)\."
    )
    with pytest.raises(DataError, match=sentence):
        evaluate.evaluate(config, tmp_path / "run")
