"""Proposals at the front door: made by a run or of actionness, by the first stage of a config, and used by two-stage systems."""

import json
import logging
import math

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from tal_jax import evaluate, predict, propose, report, train
from tal_jax.checkpoints import Checkpoints, remember_run
from tal_jax.data import load_dataset, proposals
from tal_jax.data.annotations import load_annotations
from tal_jax.data.features import Timeline
from tal_jax.data.proposals import read_proposals
from tal_jax.errors import DataError
from tal_jax.ops.segments import tiou_matrix
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd import model as afsd_model
from tests import tiny_config
from tests.conftest import FPS, signal
from tests.systems.test_weak import weak_config
from tests.test_train import last_state, metrics

# name -> subset, length in frames, actions, proposals (first and last frame)
ODD = {
    "many": ("train", 220, [("slow", 12, 44), ("fast", 60, 84), ("slow", 110, 150)], None),
    "none": ("train", 100, [("fast", 20, 60)], []),
    "one": ("train", 90, [("slow", 30, 60)], [(28, 63)]),
    "test_many": ("test", 200, [("fast", 8, 40), ("slow", 62, 86)], None),
    "test_none": ("test", 90, [("slow", 10, 40)], []),
    "test_one": ("test", 90, [("fast", 50, 80)], [(45, 78)]),
}


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """What one run has compiled another one of the same shapes reads, which is most of the time of these tests."""

    def keep(folder, min_seconds):
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", min_seconds)
        compilation_cache.reset_cache()  # so that it looks at these again

    before = jax.config.jax_compilation_cache_dir, jax.config.jax_persistent_cache_min_compile_time_secs
    keep(str(tmp_path_factory.mktemp("compiled")), 0)
    yield
    keep(*before)


@pytest.fixture(scope="module")
def odd_data(tmp_path_factory):
    """Folder with recordings of two streams, their labels, and proposals.json: many, one or none for a recording."""
    folder, database, results = tmp_path_factory.mktemp("odd"), {}, {}
    for seed, (name, (subset, num_frames, actions, segments)) in enumerate(ODD.items()):
        for stream in ("rgb", "flow"):
            (folder / stream).mkdir(exist_ok=True)
            np.save(folder / stream / f"{name}.npy", signal(num_frames, actions, seed + 10 * (stream == "flow")))
        found = [(label, start / FPS, end / FPS) for label, start, end in actions]
        database[name] = {"subset": subset, "duration": num_frames / FPS}
        database[name]["annotations"] = [{"label": label, "segment": times} for label, *times in found]
        if segments is None:  # each action, moved by a share of its length
            moves = [(a / 5, b / 5) for a in range(-2, 3) for b in range(-2, 3)]
            segments = [(s + a * (e - s), e + b * (e - s)) for a, b in moves for _, s, e in actions]
        scores = np.random.default_rng(seed).uniform(0.1, 1, len(segments))
        if segments:
            rows = [{"segment": [s / FPS, e / FPS], "score": score, "label": "slow"} for (s, e), score in zip(segments, scores)]
            results[name] = rows
    (folder / "labels.json").write_text(json.dumps({"database": database}))
    (folder / "proposals.json").write_text(json.dumps({"results": results}))
    return folder


def odd_config(system, odd_data, stream="rgb"):
    config = tiny_config.get_config(system)
    config.data.update(annotations=str(odd_data / "labels.json"), features=str(odd_data), num_channels=6, stream=stream)
    config.proposals = str(odd_data / "proposals.json")
    return config


@pytest.fixture(scope="module", params=["pgcn", "tcanet"])
def odd_run(request, odd_data, tmp_path_factory):
    """(config, workdir, evaluation) of a two-stage system trained on these."""
    config, workdir = odd_config(request.param, odd_data), tmp_path_factory.mktemp(f"odd_{request.param}")
    return config, workdir, train.train(config, workdir)


def numbers_in(tree):
    """All numbers in a tree of dicts and lists."""
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (list, tuple)):
        return [number for branch in tree for number in numbers_in(branch)]
    return [tree] if isinstance(tree, (int, float)) else []


def detections(workdir):
    return json.loads((workdir / "detections.json").read_text())["results"]


def stop_at(monkeypatch, step):
    """Lets the next training run stop after that step as by a signal."""

    class Stop:
        looks = 0

        @property
        def received(self):
            self.looks += 1
            return self.looks >= step

        def restore(self):
            monkeypatch.setattr(train, "StopSignal", original)

    original = train.StopSignal
    monkeypatch.setattr(train, "StopSignal", Stop)


def saved_run(config, workdir):
    """A run whose parameters are random."""
    dataset, system = load_dataset(config), SYSTEMS[config.system]
    items, make_example = system.examples(config, dataset)
    model = system.build(config, len(dataset.annotations.classes))
    inputs, rng = make_example(items[0], np.random.default_rng(0))["inputs"][None], np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    remember_run(config, dataset.annotations.classes, workdir)
    checkpoints = Checkpoints(workdir)
    checkpoints.save(1, jax.tree.map(lambda leaf: rng.normal(0, 0.1, leaf.shape).astype(leaf.dtype), shapes))
    checkpoints.close()


def assert_same(found, expected):
    """Two dicts of Proposals."""
    assert found.keys() == expected.keys()
    for name, one in found.items():
        np.testing.assert_array_equal(one.segments_sec, expected[name].segments_sec)
        np.testing.assert_array_equal(one.scores, expected[name].scores)
        np.testing.assert_array_equal(one.labels, expected[name].labels)


@pytest.fixture
def proposed(monkeypatch):
    """List that gets what is proposed, as it is before it is written."""
    written, write = [], proposals.write_proposals
    monkeypatch.setattr(
        proposals, "write_proposals", lambda path, found, *rest: (written.append(found), write(path, found, *rest))
    )
    return written


# From a run, and from others


@pytest.mark.parametrize("form", ["json", "csv"])
def test_proposals_of_others_are_read_told_and_scored(form, tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    source = tmp_path / "theirs.json"
    if form == "json":
        source.write_text(json.dumps({"results": {"sunday": [{"segment": [1.0, 5.0]}, {"segment": [5.0, 1.0]}]}}))
    else:
        source = tmp_path / "theirs"
        source.mkdir()
        (source / "sunday.csv").write_text("xmin,xmax,score\n1.0,5.0,0.9\n5.0,1.0,0.8\n")
    scores = propose.propose(tiny("toy"), tmp_path / "read", str(source))
    assert scores["counts"]["proposals"] == 1
    assert "2 proposals read, 1 kept, in 1 of 3 recordings; dropped: 1 empty or reversed" in caplog.messages[0]
    read, _ = read_proposals(tmp_path / "read" / "proposals.json", load_dataset(tiny("toy")).annotations)
    assert read["sunday"].segments_sec.tolist() == [[1.0, 5.0]]
    with pytest.raises(DataError, match="--input=.*nowhere is not there"):
        propose.propose(tiny("toy"), tmp_path / "read", str(tmp_path / "nowhere"))


def test_the_proposals_of_afsd_are_read_as_they_were_made(tiny, tmp_path, monkeypatch, proposed, capsys):
    monkeypatch.setattr(afsd_model, "NUM_LEVELS", 2)  # which compiles in a third of the time of 6
    config = tiny("afsd")
    config.loss.level_bounds = ()
    config.propose.most = 50
    saved_run(config, tmp_path)
    scores = propose.propose(config, tmp_path)
    read, held = read_proposals(tmp_path / "proposals.json", load_dataset(config).annotations)
    assert_same(read, *proposed)
    assert held.rows == held.kept and not held.without_proposals
    for found in read.values():
        assert 10 < len(found.scores) <= 50 and {*found.labels} <= {0, 1}
        assert np.triu(tiou_matrix(found.segments_sec, found.segments_sec), 1).max() < 0.95
    report.print_proposals(scores, tmp_path / "proposals.json")
    table = capsys.readouterr().out
    assert "AR@" in table and f"Written: {tmp_path}" in table
    assert scores["counts"]["proposals"] == len(read["sunday"].scores)


# The first stage of a config


def test_the_first_stage_is_trained_once(tiny, tmp_path, monkeypatch, proposed):
    config = tiny("pgcn")
    assert propose.with_first_stage(config, tmp_path, may_train=True)
    assert config.proposals == str(tmp_path / "first_stage" / "proposals.json")
    assert json.loads((tmp_path / "first_stage" / "config.json").read_text())["config"]["system"] == "toy"
    assert_same(load_dataset(config).proposals, *proposed)
    assert all(len(found.scores) for found in proposed[0].values())

    def fail(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "train", fail)
    for may_train in (True, False):
        again = tiny("pgcn")
        assert propose.with_first_stage(again, tmp_path, may_train) and again.proposals == config.proposals
    changed = tiny("pgcn")
    changed.first_stage.train.epochs = 3
    with pytest.raises(
        DataError, match="first_stage holds a run with another config: config.train.epochs was 2, is now 3. Choose"
    ):
        propose.with_first_stage(changed, tmp_path, may_train=True)
    other = tiny("pgcn")
    other.proposals = "mine.json"
    assert propose.with_first_stage(other, tmp_path / "other", may_train=True) and other.proposals == "mine.json"
    later = tiny("tcanet")
    assert propose.with_first_stage(later, tmp_path / "other", may_train=False) and later.proposals == ""
    assert propose.with_first_stage(tiny("toy"), tmp_path / "other", may_train=True)
    assert not (tmp_path / "other").exists()


def test_an_interrupted_first_stage_goes_on(tiny, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    stop_at(monkeypatch, 3)
    config = tiny("tcanet")
    assert not propose.with_first_stage(config, tmp_path / "stopped", may_train=True)
    assert config.proposals == "" and not (tmp_path / "stopped" / "first_stage" / "proposals.json").exists()
    for folder in ("stopped", "whole"):
        assert propose.with_first_stage(tiny("tcanet"), tmp_path / folder, may_train=True)
    assert "Resuming from step 3 of 8." in caplog.messages
    found, expected = ((tmp_path / folder / "first_stage" / "proposals.json").read_text() for folder in ("stopped", "whole"))
    assert found == expected


def test_predict_runs_both_stages(tiny, tmp_path):
    config = tiny("pgcn")
    assert propose.with_first_stage(config, tmp_path, may_train=True)
    train.train(config, tmp_path)
    np.save(tmp_path / "new.npy", signal(150, [("slow", 30, 70)], seed=9))
    for source in ("sunday", tmp_path / "new.npy"):
        predict.predict(config, tmp_path, str(source))
    found = {
        name: json.loads((tmp_path / "predictions" / f"{name}.json").read_text())["results"][name] for name in ("sunday", "new")
    }
    assert found["sunday"] == detections(tmp_path)["sunday"]
    assert found["new"] and all(0 <= row["segment"][0] < row["segment"][1] <= 15 for row in found["new"])


def test_predict_takes_proposals_of_a_file(odd_run, odd_data):
    config, workdir, _ = odd_run
    predict.predict(config, workdir, str(odd_data / "rgb" / "test_one.npy"))
    found = json.loads((workdir / "predictions" / "test_one.json").read_text())["results"]
    assert found["test_one"]
    with pytest.raises(
        DataError, match="none of its recordings is in the annotations. Its first is 'many', that of the annotations 'new'"
    ):
        np.save(workdir / "new.npy", signal(150, [], seed=9))
        predict.predict(config, workdir, str(workdir / "new.npy"))


def test_a_two_stage_system_without_proposals_is_one_sentence(tiny):
    config = tiny("tcanet")
    with pytest.raises(DataError, match="^tcanet starts from proposals; set --config.proposals=FILE. --mode=propose makes them"):
        SYSTEMS["tcanet"].examples(config, load_dataset(config))


# What the second stage makes of odd proposals


def test_bad_rows_are_dropped_and_counted(tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    good, bad = [1.0, 3.0], [[3.0, 1.0], [2.0, 2.0], [30.0, 40.0], [float("nan"), 2.0]]
    results = {
        "monday": [{"segment": s} for s in (good, *bad)],
        "nobody": [{"segment": good}],
        "tuesday": [{"segment": [19, 25]}],
    }
    (tmp_path / "odd.json").write_text(json.dumps({"results": results}))
    config = tiny("pgcn")
    config.proposals = str(tmp_path / "odd.json")
    found = load_dataset(config).proposals
    assert {name: p.segments_sec.tolist() for name, p in found.items()} == {
        "monday": [[1.0, 3.0]],
        "tuesday": [[19.0, 20.0]],
        "sunday": [],
    }
    assert caplog.messages[-1] == (
        f"{tmp_path}/odd.json: 7 proposals read, 2 kept, in 2 of 3 recordings; dropped: 1 of recordings that the annotations lack, "
        "1 not finite, 2 empty or reversed, 1 outside their recording; cut at an end of their recording: 1. "
        "Not in the annotations: nobody."
    )


def test_recordings_with_no_proposal_and_with_one(odd_run):
    config, workdir, result = odd_run
    numbers = numbers_in(result) + numbers_in(metrics(workdir)) + numbers_in(detections(workdir))
    assert len(numbers) > 100 and all(math.isfinite(number) for number in numbers)
    assert all(np.isfinite(leaf).all() for leaf in last_state(workdir).values())
    found = {name: len(rows) for name, rows in detections(workdir).items()}
    assert found["test_none"] == 0 < found["test_one"] <= 2 < found["test_many"]  # of one proposal at most one a class
    assert result["counts"]["recordings"] == 3 and result["counts"]["ground_truths"] == 4
    for row in (row for rows in detections(workdir).values() for row in rows):
        assert 0 <= row["segment"][0] < row["segment"][1] <= 20


def test_no_recording_of_the_test_subset_has_a_proposal(odd_run, tmp_path):
    config, workdir, _ = odd_run
    config = config.copy_and_resolve_references()
    config.proposals = str(tmp_path / "training.json")
    (tmp_path / "training.json").write_text(json.dumps({"results": {"many": [{"segment": [1, 2], "label": "slow"}]}}))
    before = (workdir / "detections.json").read_text()
    result = evaluate.evaluate(config, workdir)
    assert result["map_avg"] == 0 and all(math.isfinite(number) for number in numbers_in(result))
    assert not any(detections(workdir).values())
    (workdir / "detections.json").write_text(before)


def test_a_stopped_run_on_proposals_goes_on_as_if_nothing_had_been(odd_run, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    config, expected, _ = odd_run
    stop_at(monkeypatch, 3)
    assert train.train(config, tmp_path) is None
    assert train.train(config, tmp_path)
    assert any(message.startswith("Resuming from step 3 of ") for message in caplog.messages)
    found, wanted = last_state(tmp_path), last_state(expected)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    assert detections(tmp_path) == detections(expected)


def test_two_streams_are_trained_apart_and_fused(odd_data, tmp_path):
    runs = {stream: odd_config("pgcn", odd_data, stream) for stream in ("rgb", "flow")}
    for stream, config in runs.items():
        train.train(config, tmp_path / stream)
    alone = [detections(tmp_path / stream) for stream in runs]
    assert alone[0] != alone[1]
    config = runs["rgb"]
    config.evaluate.second_workdir = str(tmp_path / "flow")
    result = evaluate.evaluate(config, tmp_path / "rgb")
    assert all(math.isfinite(number) for number in numbers_in(result))
    fused = detections(tmp_path / "rgb")
    assert fused not in alone and fused["test_none"] == [] and len(fused["test_one"])
    config.evaluate.second_workdir = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"nowhere holds no trained run \(there is no config.json\); train first"):
        evaluate.evaluate(config, tmp_path / "rgb")


# From actionness


def actionness_of_truth(recording, per_second):
    """(T, 1) float32: 0.8 within actions, 0.1 elsewhere."""
    times_sec = (np.arange(round(recording.duration_sec * per_second)) + 0.5) / per_second
    inside = [(start <= times_sec) & (times_sec < end) for start, end in recording.segments_sec]
    return np.where(np.any(inside, axis=0), 0.8, 0.1).astype(np.float32)[:, None]


@pytest.mark.parametrize(
    "fields, per_second", [({}, 10), ({"samples_per_frame": 5}, 2), ({"stride_frames": 0}, 4), ({"fps": 0.0}, 20)]
)
def test_groups_of_actionness(tiny, tmp_path, fields, per_second, proposed, caplog):
    config = tiny("toy")
    config.data.update(fields)
    annotations = load_annotations(config.data.annotations)
    (tmp_path / "in").mkdir()
    for name in ("monday", "sunday"):
        np.savez(tmp_path / "in" / f"{name}.npz", actionness_of_truth(annotations.recordings[name], per_second))
    scores = propose.propose(config, tmp_path, str(tmp_path / "in"))
    assert "1 of 3 recordings have no feature file" in caplog.text and "'tuesday'" in caplog.text
    read, held = read_proposals(tmp_path / "proposals.json", annotations)
    assert held.without_proposals == ("tuesday",)
    assert_same({name: found for name, found in read.items() if name != "tuesday"}, *proposed)
    truths = annotations.recordings["monday"].segments_sec
    exact = tiou_matrix(truths, read["monday"].segments_sec).max(axis=1)
    assert (exact > 1 - 0.35 * 2 / per_second).all()  # a sequence knows its times to half a step on each side
    np.testing.assert_allclose(read["monday"].scores[0], 0.8, rtol=1e-6)
    np.testing.assert_allclose(read["monday"].scores.min(), 0.1 + 0.7 * 12.8 / 22, atol=0.2)  # of what joins all actions
    assert scores["recall"]["0.5"] == 100 and scores["counts"]["recordings"] == 1


def test_proposals_on_recordings_without_times_are_not_scored(tiny, tmp_path, capsys, caplog):
    labels = {name: {"subset": "test", "duration": 5, "annotations": [{"label": "slow"}]} for name in ("a", "b")}
    (tmp_path / "labels.json").write_text(json.dumps({"database": labels}))
    np.savetxt(tmp_path / "a.csv", actionness := np.repeat([0.2, 0.9, 0.3], [10, 15, 25]))
    np.save(tmp_path / "b.npy", actionness[:, None])
    config = tiny("toy")
    config.data.annotations = str(tmp_path / "labels.json")
    assert propose.propose(config, tmp_path / "run", str(tmp_path)) is None
    assert "The proposals are not scored: Recording 'a' has a label without times" in caplog.text
    report.print_proposals(None, tmp_path / "run" / "proposals.json")
    assert capsys.readouterr().out == f"Written: {tmp_path}/run/proposals.json\n"
    found, _ = read_proposals(tmp_path / "run" / "proposals.json", load_annotations(tmp_path / "labels.json"))
    for one in found.values():
        np.testing.assert_allclose(one.segments_sec[0], [1, 2.5])
        np.testing.assert_allclose(one.scores[0], 0.9)


@pytest.mark.parametrize(
    "sequence, sentence",
    [
        (np.full((200, 2), 0.5), "recording 'tuesday' has 2 channels; a sequence of actionness has one."),
        (np.full((200, 1), np.nan), "recording 'tuesday' has NaN or infinite features in 200 of 200 rows, the first is row 0."),
        (np.linspace(-1, 1, 200)[:, None], "recording 'tuesday' has actionness from -1 to 1; it must be from 0 to 1."),
        (np.linspace(0, 7, 200)[:, None], "recording 'tuesday' has actionness from 0 to 7; it must be from 0 to 1."),
        (np.full((50, 1), 0.5), "wrong. --config.data.stride_frames=0 spreads them evenly over the recording."),
    ],
)
def test_what_is_no_actionness_is_one_sentence(tiny, tmp_path, sequence, sentence):
    np.save(tmp_path / "tuesday.npy", sequence)
    with pytest.raises(DataError) as error:
        propose.propose(tiny("toy"), tmp_path / "run", str(tmp_path))
    assert str(error.value).endswith(sentence) and str(error.value).startswith(str(tmp_path))
    assert not (tmp_path / "run").exists()


def test_an_empty_folder_has_no_actionness(tiny, tmp_path):
    with pytest.raises(DataError, match="nowhere is not there; name a folder of actionness"):
        propose.propose(tiny("toy"), tmp_path, str(tmp_path / "nowhere"))


# From class activations


def test_the_largest_activation_is_the_actionness():
    cas = np.array([[0.1, 0.2], [0.9, 0.0], [0.3, 0.4]], np.float32)
    np.testing.assert_allclose(propose.actionness_of(cas), [0.2, 0.9, 0.4])
    np.testing.assert_allclose(propose.actionness_of(10 * cas - 3), [0, 1, 0.2 / 0.7], rtol=1e-5)
    np.testing.assert_array_equal(propose.actionness_of(np.full((4, 2), -3.0)), np.zeros(4))


def test_a_group_has_the_class_and_the_times_of_its_activations(tiny, monkeypatch):
    cas = np.zeros((90, 2), np.float32)
    cas[10:40, 1], cas[50:80, 0], cas[60, 1] = 0.9, 0.6, 1.0
    monkeypatch.setattr(propose, "activation_sequences", lambda *_: (None, cas))
    stream = evaluate.Stream(tiny("toy"), {}, load_dataset(tiny("toy")))
    segments_sec, classes, scores = propose._groups_of_activations(None, stream, "sunday")
    assert stream.dataset.timeline("sunday") == Timeline(10.0, 1, 1)
    for times_sec, label, score in (([1, 4], 1, 0.9), ([5, 8], 0, 18.4 / 30)):
        (row,) = np.flatnonzero((np.abs(segments_sec - times_sec) < 1e-9).all(axis=1))
        assert classes[row] == label and scores[row] == pytest.approx(score, rel=1e-6)


def test_proposals_of_a_weakly_supervised_run(tiny, tiny_data, tmp_path, proposed):
    config = weak_config("ecm", tiny_data)
    config.propose.grouping = True
    saved_run(config, tmp_path)
    scores = propose.propose(config, tmp_path)
    read, held = read_proposals(tmp_path / "proposals.json", load_dataset(config).annotations)
    assert_same(read, *proposed)
    assert held.kept > 10 and not held.without_proposals and scores["counts"]["proposals"] == len(read["sunday"].scores)

    config = tiny("toy")
    config.propose.grouping = True
    saved_run(config, tmp_path / "toy")
    with pytest.raises(DataError, match="'toy' has no class activation sequences; config.propose.grouping groups those of ecm"):
        propose.propose(config, tmp_path / "toy")
