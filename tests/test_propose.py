"""Proposals at the front door: made by a run or of actionness, and by the first stage of a config."""

import functools
import json
import logging

import jax
import numpy as np
import pytest

from tal_jax import evaluate, propose, report, train
from tal_jax.data import load_dataset, proposals
from tal_jax.data.annotations import load_annotations
from tal_jax.data.proposals import read_proposals
from tal_jax.data.timeline import Timeline
from tal_jax.detect import Detector
from tal_jax.errors import DataError
from tal_jax.ops.segments import tiou
from tal_jax.run_config import remember_run
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd import model as afsd_model
from tal_jax.systems.interface import call
from tests import tiny_config
from tests.systems.test_weak import weak_config

pytestmark = pytest.mark.usefixtures("compiled_once")


def stop_at(monkeypatch, step):
    """Lets the next training run stop after that step as by a signal."""

    class Stop:
        looks = 0

        @property
        def received(self):
            self.looks += 1
            return self.looks >= step - 1  # it goes into that step, whose values are read after the next one

        def restore(self):
            monkeypatch.setattr(train, "StopSignal", original)

    original = train.StopSignal
    monkeypatch.setattr(train, "StopSignal", Stop)


def saved_run(config, workdir):
    """A run whose parameters are random."""
    dataset, system = load_dataset(config), SYSTEMS[config.system]
    items, make_example = system.examples(config, dataset)
    model = system.build(config, len(dataset.annotations.classes))
    rng = np.random.default_rng(config.data.stream == "flow")
    inputs = jax.tree.map(
        lambda array: array[None], make_example(items[0], np.random.default_rng(0))["inputs"]
    )
    shapes = call(functools.partial(jax.eval_shape, model.init), jax.random.key(0), inputs)
    shapes = {"params": shapes.pop("params"), "model_state": shapes}
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
        proposals,
        "write_proposals",
        lambda path, found, *rest: (written.append(found), write(path, found, *rest)),
    )
    return written


# From a run, and from others


@pytest.mark.parametrize("form", ["json", "csv"])
def test_proposals_of_others_are_read_told_and_scored(form, tiny, tmp_path, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    source = tmp_path / "theirs.json"
    if form == "json":
        source.write_text(
            json.dumps({"results": {"sunday": [{"segment": [1.0, 5.0]}, {"segment": [5.0, 1.0]}]}})
        )
    else:
        source = tmp_path / "theirs"
        source.mkdir()
        (source / "sunday.csv").write_text("xmin,xmax,score\n1.0,5.0,0.9\n5.0,1.0,0.8\n")
    scores = propose.propose(tiny("toy"), tmp_path / "read", str(source))
    assert scores["counts"]["proposals"] == 1
    assert (
        "2 proposals read, 1 kept, in 1 of 3 recordings; dropped: 1 empty or reversed" in caplog.messages[0]
    )
    read, _ = read_proposals(tmp_path / "read" / "proposals.json", load_dataset(tiny("toy")).annotations)
    assert read["sunday"].segments_sec.tolist() == [[1.0, 5.0]]
    with pytest.raises(DataError, match="--input=.*nowhere is not there"):
        propose.propose(tiny("toy"), tmp_path / "read", str(tmp_path / "nowhere"))


def test_proposals_are_not_overwritten_by_those_that_are_made_of_them(tiny, tmp_path):
    path = tmp_path / "proposals.json"
    path.write_text(json.dumps({"results": {"sunday": [{"segment": [1.0, 5.0]}]}, "mine": 3}))
    before = path.read_bytes()
    with pytest.raises(
        DataError, match="--input=.*proposals.json would be overwritten, .* choose another --workdir"
    ):
        propose.propose(tiny("toy"), tmp_path, str(path))
    config = tiny("pgcn")
    config.proposals = str(path)
    with pytest.raises(DataError, match="--config.proposals=.*proposals.json would be overwritten"):
        propose.propose(config, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["proposals.json"] and path.read_bytes() == before


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
        assert np.triu(tiou(found.segments_sec[:, None], found.segments_sec), 1).max() < 0.95
    report.print_proposals(scores, tmp_path / "proposals.json")
    table = capsys.readouterr().out
    assert "AR@" in table and f"Written: {tmp_path}" in table
    assert scores["counts"]["proposals"] == len(read["sunday"].scores)


def test_the_proposals_of_two_streams_are_of_both(tiny, tiny_data, tmp_path, proposed):
    (tmp_path / "features").mkdir()
    for path in tiny_data.glob("*.npy"):
        channels = np.load(path)
        np.savez(tmp_path / "features" / f"{path.stem}.npz", rgb=channels[:, :2], flow=channels[:, 2:])
    for stream in ("rgb", "flow"):
        config = tiny("toy")
        config.data.update(stream=stream, features=str(tmp_path / "features"))
        saved_run(config, tmp_path / stream)
        propose.propose(config, tmp_path / stream)
    config.evaluate.second_workdir = str(tmp_path / "rgb")
    propose.propose(config, tmp_path / "flow")
    rgb, flow, fused = ([*found["sunday"].scores] for found in proposed)
    assert fused != rgb and fused != flow and rgb != flow
    config.evaluate.second_workdir = str(tmp_path / "flow")
    with pytest.raises(
        DataError, match="second_workdir holds a run on flow too; name one on the other stream"
    ):
        propose.propose(config, tmp_path / "flow")


def test_what_is_scored_comes_back_from_training(tiny, tmp_path):
    config = tiny("toy")
    config.data.update(train_subset="test", test_subset="train")
    saved_run(config, tmp_path)
    asked = tiny_config.get_config("toy")  # it names no annotations
    scores, expected = propose.propose(asked, tmp_path), propose.propose(config, tmp_path)
    assert scores == expected and scores is not None
    result = evaluate.evaluate(asked, tmp_path)
    assert result["protocol"]["subset"] == "train" and result["counts"]["recordings"] == 2


def test_proposals_end_with_the_recording_whose_duration_nobody_says(tiny, tiny_data, tmp_path):
    database = json.loads((tiny_data / "labels.json").read_text())["database"]
    for row in database.values():
        del row["duration"]
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = tiny("toy")
    config.data.annotations = str(tmp_path / "labels.json")
    saved_run(config, tmp_path)
    propose.propose(config, tmp_path)
    results = json.loads((tmp_path / "proposals.json").read_text())["results"]
    assert {name: max(p["segment"][1] for p in rows) for name, rows in results.items()} == {
        "monday": 22, "tuesday": 20, "sunday": 9
    }  # fmt: skip


# The first stage of a config


@pytest.fixture
def no_training(monkeypatch):
    """Function after whose call nothing may be trained."""

    def fail(*_):
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr(train, "train", fail)


def test_the_first_stage_is_trained_once(tiny, tmp_path, no_training, proposed):
    config = tiny("pgcn")
    assert propose.with_first_stage(config, tmp_path, "train")
    assert config.proposals == str(tmp_path / "first_stage" / "proposals.json")
    assert json.loads((tmp_path / "first_stage" / "config.json").read_text())["config"]["system"] == "toy"
    assert_same(load_dataset(config).proposals, *proposed)
    assert all(len(found.scores) for found in proposed[0].values())
    no_training()
    for mode in ("train", "evaluate", "predict"):
        again = tiny("pgcn")
        assert propose.with_first_stage(again, tmp_path, mode) and again.proposals == config.proposals
    assert len(proposed) == 1
    changed = tiny("pgcn")
    changed.first_stage.train.epochs = 3
    with pytest.raises(
        DataError,
        match="first_stage holds a run with another config: config.train.epochs was 2, is now 3. Choose",
    ):
        propose.with_first_stage(changed, tmp_path, "train")
    other = tiny("pgcn")
    other.proposals = "mine.json"
    assert propose.with_first_stage(other, tmp_path / "other", "train") and other.proposals == "mine.json"
    later = tiny("tcanet")
    assert propose.with_first_stage(later, tmp_path / "other", "evaluate") and later.proposals == ""
    assert propose.with_first_stage(tiny("toy"), tmp_path / "other", "train")
    assert not (tmp_path / "other").exists()


def test_other_settings_make_proposals_anew_without_training(tiny, tmp_path, no_training, proposed):
    first = tiny("pgcn").first_stage
    saved_run(first, tmp_path / "first_stage")
    propose.propose(first, tmp_path / "first_stage")
    no_training()
    # to predict the first stage itself is run
    for mode, made in (("predict", 1), ("train", 2), ("evaluate", 2)):
        changed = tiny("pgcn")
        changed.first_stage.propose.most = 3
        changed.first_stage.train.log_every_steps = 7
        assert propose.with_first_stage(changed, tmp_path, mode) and len(proposed) == made
    assert {len(found.scores) for found in load_dataset(changed).proposals.values()} == {3}
    changed.proposals, changed.first_stage.decode.min_score = "", 0.9
    assert propose.with_first_stage(changed, tmp_path, "evaluate") and len(proposed) == 3
    assert not any(len(found.scores) for found in proposed[2].values())
    again = tiny("pgcn")
    again.first_stage.readings = ("decode.keep_last=False",)
    assert propose.with_first_stage(again, tmp_path, "train") and len(proposed) == 4
    assert propose.with_first_stage(tiny("pgcn"), tmp_path, "train")
    assert_same(proposed[4], proposed[0])


def test_other_recordings_get_proposals_of_their_own(tiny, tiny_data, tmp_path, proposed):
    first = tiny("pgcn").first_stage
    saved_run(first, tmp_path / "first_stage")
    propose.propose(first, tmp_path / "first_stage")
    database = json.loads((tiny_data / "labels.json").read_text())["database"]
    (tmp_path / "labels.json").write_text(json.dumps({"database": {"sunday": database["sunday"]}}))
    asked, said = tiny("pgcn"), ["first_stage.data.annotations", "first_stage.data.features"]
    # said as they were trained, others, these again, those of training
    commands = (tiny_data, said, 1), (tmp_path, said, 2), (tmp_path, said, 2), (tiny_data, [], 3)
    for folder, fields, made in commands:
        asked.proposals, asked.data.annotations = "", str(folder / "labels.json")
        assert propose.with_first_stage(asked, tmp_path, "evaluate", fields) and len(proposed) == made
    assert [len(found) for found in proposed] == [3, 1, 3]


def test_an_interrupted_first_stage_goes_on(tiny, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "tal_jax")
    stop_at(monkeypatch, 3)
    config = tiny("tcanet")
    assert not propose.with_first_stage(config, tmp_path / "stopped", "train")
    assert config.proposals == "" and not (tmp_path / "stopped" / "first_stage" / "proposals.json").exists()
    for folder in ("stopped", "whole"):
        assert propose.with_first_stage(tiny("tcanet"), tmp_path / folder, "train")
    assert "Resuming from step 3 of 8." in caplog.messages
    found, expected = (
        (tmp_path / folder / "first_stage" / "proposals.json").read_text() for folder in ("stopped", "whole")
    )
    assert found == expected


# From actionness


def actionness_of_truth(recording, per_second):
    """(T, 1) float32: 0.8 within actions, 0.1 elsewhere."""
    times_sec = (np.arange(round(recording.duration_sec * per_second)) + 0.5) / per_second
    inside = [(start <= times_sec) & (times_sec < end) for start, end in recording.segments_sec]
    return np.where(np.any(inside, axis=0), 0.8, 0.1).astype(np.float32)[:, None]


@pytest.mark.parametrize(
    "fields, per_second",
    [({}, 10), ({"samples_per_frame": 5}, 2), ({"stride_frames": 0}, 4), ({"fps": 0.0}, 20)],
)
def test_groups_of_actionness(tiny, tmp_path, fields, per_second, proposed, caplog):
    config = tiny("toy")
    config.data.update(fields)
    annotations = load_annotations(config.data.annotations)
    (tmp_path / "in").mkdir()
    for name in ("monday", "sunday"):
        np.savez(
            tmp_path / "in" / f"{name}.npz", actionness_of_truth(annotations.recordings[name], per_second)
        )
    scores = propose.propose(config, tmp_path, str(tmp_path / "in"))
    assert "1 of 3 recordings have no feature file" in caplog.text and "'tuesday'" in caplog.text
    read, held = read_proposals(tmp_path / "proposals.json", annotations)
    assert held.without_proposals == ("tuesday",)
    assert_same({name: found for name, found in read.items() if name != "tuesday"}, *proposed)
    truths = annotations.recordings["monday"].segments_sec
    exact = tiou(truths[:, None], read["monday"].segments_sec).max(axis=1)
    assert (exact > 1 - 0.35 * 2 / per_second).all()  # a sequence knows its times to half a step on each side
    np.testing.assert_allclose(read["monday"].scores[0], 0.8, rtol=1e-6)
    # of what joins all actions
    np.testing.assert_allclose(read["monday"].scores.min(), 0.1 + 0.7 * 12.8 / 22, atol=0.2)
    assert scores["recall"]["0.5"] == 100 and scores["counts"]["recordings"] == 1


@pytest.mark.parametrize("form", ["actionness", "list"])
def test_test_recordings_without_proposals_are_missed_unless_they_are_left_out(tiny, tmp_path, form, capsys):
    config = tiny("toy")
    config.data.test_subset = "train"  # monday and tuesday, 4 actions each
    annotations, source = load_annotations(config.data.annotations), tmp_path / "in"
    source.mkdir()
    truths = annotations.recordings["monday"].segments_sec
    if form == "actionness":
        np.save(source / "monday.npy", actionness_of_truth(annotations.recordings["monday"], 10))
    else:
        source /= "list.json"
        rows = [{"segment": segment} for segment in truths.tolist()]
        source.write_text(json.dumps({"results": {"monday": rows}}))
    scores = propose.propose(config, tmp_path / "out", str(source))
    assert scores["recall"]["0.5"] == 50 and scores["counts"]["ground_truths"] == 8
    report.print_proposals(scores, "FILE")
    told = "2 recordings with 8 annotated actions, 1 of them without a proposal; 0 left out. Written: FILE"
    assert told in capsys.readouterr().out

    config.evaluate.missing = "left out"
    scores = propose.propose(config, tmp_path / "out", str(source))
    assert scores["recall"]["0.5"] == 100 and scores["counts"]["ground_truths"] == 4
    assert scores["counts"]["recordings_left_out"] == 1
    if form == "list":  # a recording with an empty list is not missing
        source.write_text(json.dumps({"results": {"monday": rows, "tuesday": []}}))
        assert propose.propose(config, tmp_path / "out", str(source))["recall"]["0.5"] == 50
    config.evaluate.missing, config.data.left_out = "missed", ("tuesday",)
    assert propose.propose(config, tmp_path / "out", str(source)) == scores
    config.evaluate.missing = "forgotten"
    with pytest.raises(
        DataError, match="config.evaluate.missing is 'forgotten'; it must be one of missed, left out"
    ):
        propose.propose(config, tmp_path / "out", str(source))


def test_proposals_on_recordings_without_times_are_not_scored(tiny, tmp_path, capsys, caplog):
    labels = {
        name: {"subset": "test", "duration": 5, "annotations": [{"label": "slow"}]} for name in ("a", "b")
    }
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
        (
            np.full((200, 1), np.nan),
            "recording 'tuesday' has features that are NaN or beyond 1e15 in 200 of 200 rows, the first is row 0.",
        ),
        (
            np.linspace(-1, 1, 200)[:, None],
            "recording 'tuesday' has actionness from -1 to 1; it must be from 0 to 1.",
        ),
        (
            np.linspace(0, 7, 200)[:, None],
            "recording 'tuesday' has actionness from 0 to 7; it must be from 0 to 1.",
        ),
        (
            np.full((50, 1), 0.5),
            "which may be cut. --config.data.stride_frames=0 spreads them evenly over the recording.",
        ),
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
    monkeypatch.setattr(Detector, "activation_sequences", lambda *_: (None, cas))
    stream = evaluate.Stream(tiny("toy"), {}, load_dataset(tiny("toy")))
    segments_sec, classes, scores = propose._groups_of_activations(
        Detector([tiny("toy")], 2), stream, "sunday"
    )
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
    assert (
        held.kept > 10
        and not held.without_proposals
        and scores["counts"]["proposals"] == len(read["sunday"].scores)
    )

    config = tiny("toy")
    config.propose.grouping = True
    saved_run(config, tmp_path / "toy")
    with pytest.raises(DataError, match="'toy' has no class activation sequences"):
        propose.propose(config, tmp_path / "toy")


@pytest.mark.parametrize("content", ["[", "[" * 100_000, "", "3"])
def test_damaged_settings_are_of_no_proposals_of_this_run(tiny, tmp_path, content):
    propose._settings_path(tmp_path).write_text(content)
    assert not propose._made_with(tiny(), tmp_path)
