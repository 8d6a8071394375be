"""Plans of files, and files of plans."""

import json

import numpy as np
import pytest

from tal_jax import data, fingerprint, planned_run, run_config
from tal_jax.check_data import check_dataset
from tal_jax.errors import DataError
from tal_jax.systems import require_valid
from tests.plan.cases import relabel


def test_the_fingerprint_of_files(files):
    _, config = files
    seen = fingerprint.fingerprint(config)
    assert (seen.rows_a_sec, seen.channels, seen.seconds) == (20, 2, pytest.approx(100))
    assert seen.offsets[0] == pytest.approx(7, abs=0.3) and seen.offsets[1] == 5
    assert seen.scales[0] == pytest.approx(3, abs=0.2) and (seen.scales[1], seen.still) == (1, 1)
    assert seen.recordings == {"train": 1, "test": 1}
    np.testing.assert_allclose(seen.lengths_sec, [2.0] * 14)
    assert (seen.of_classes, seen.most_actions, seen.overlap) == ((14,), 14, False)
    relabel(files[0], [{"label": "x", "segment": [1.0, 9.0]}, {"label": "y", "segment": [3.0, 4.0]}])
    assert fingerprint.fingerprint(config).overlap


def test_lost_channels_and_gaps_are_filled(files):
    folder_of_run, config = files
    rows = np.random.default_rng(0).normal(7, 3, (2000, 2)).astype(np.float32)
    rows[:500, 0], rows[:, 1] = np.nan, np.inf
    np.save(folder_of_run / "features" / "a.npy", rows)
    seen = fingerprint.fingerprint(config)
    assert seen.missing == pytest.approx(0.625) and seen.lost == {2: 1}
    assert seen.offsets == (pytest.approx(7, abs=0.3), 0) and seen.scales == (pytest.approx(3, abs=0.2), 1)
    made, lines = planned_run.planned(config, folder_of_run / "run", ())
    (line,) = (line for line in lines if line.field == "data.fill_missing")
    assert made.data.fill_missing
    assert line.reason == (
        "0.62 of the values are NaN, put on the line between their neighbours; lost all over recordings: "
        "channel 2 in 1"
    )
    assert np.isfinite(data.load_dataset(made).read("a")).all()
    assert check_dataset(made)[1] == [
        "Note: recording 'a' has NaN, or a value beyond 1e15, in 62.50% of its values, each put on the line "
        "between its neighbours.",
        "Note: these channels, counted from 1, never change in any recording: 2.",
    ]
    rows[:, 0] = np.nan
    np.save(folder_of_run / "features" / "a.npy", rows)
    with pytest.raises(DataError, match="No value of the training recording 'a' is a number; correct"):
        fingerprint.fingerprint(config)


def test_a_damaged_file_and_small_units_do_not_stop_a_plan(files):
    """Volts of muscles vary by millionths; a file that cannot be read is named by what reads all of them."""
    folder_of_run, config = files
    rows = np.random.default_rng(0).normal(0, 1e-7, (2000, 2)).astype(np.float32)
    np.save(folder_of_run / "features" / "a.npy", rows)
    content = json.loads((folder_of_run / "labels.json").read_text())
    content["database"] = {"0": content["database"]["a"], **content["database"]}
    (folder_of_run / "labels.json").write_text(json.dumps(content))
    (folder_of_run / "features" / "0.npy").write_bytes(b"no array")
    seen = fingerprint.fingerprint(config)
    assert seen.still == 0 and seen.scales[0] == pytest.approx(1e-7, rel=0.1)
    (folder_of_run / "features" / "a.npy").write_bytes(b"no array")
    with pytest.raises(DataError, match="0.npy"):
        fingerprint.fingerprint(config)


def test_a_plan_is_kept_with_its_run_and_made_again_from_its_file(files):
    folder_of_run, config = files
    made, lines = planned_run.planned(config, folder_of_run / "run", ())
    assert config.window.frames != made.window.frames  # the given config stays as it is
    (folder_of_run / "run").mkdir()
    planned_run.write_plan(folder_of_run / "run", lines)
    again, of_file = planned_run.planned(config, folder_of_run / "run", ())
    assert again == made and of_file == lines
    config.plan.file = str(folder_of_run / "run" / planned_run.PLAN)
    config.train.epochs = 3
    other, _ = planned_run.planned(config, folder_of_run / "other", ["train.epochs"])
    assert other.train.epochs == 3 and other.window.frames == made.window.frames
    assert other.train.warmup_epochs == 2 < made.train.warmup_epochs


def test_the_plan_of_a_run_is_not_that_of_other_recordings(files):
    folder_of_run, config = files
    workdir, said = folder_of_run / "run", ["data.annotations"]
    made, lines = planned_run.planned(config, workdir, said)
    run_config.remember_run(made, ("move",), workdir)
    planned_run.write_plan(workdir, lines)
    assert planned_run.planned(config, workdir, said) == (made, lines)
    inside = workdir / "labels.json"  # annotations in the workdir, by any spelling of it
    inside.write_bytes((folder_of_run / "labels.json").read_bytes())
    config.data.annotations = str(inside)
    run_config.remember_run(config, ("move",), workdir)
    config.data.annotations = str(workdir / ".." / "run" / "labels.json")
    assert planned_run.planned(config, workdir, said)[1] == lines
    other = folder_of_run / "other.json"
    content = json.loads((folder_of_run / "labels.json").read_text())
    for recording in content["database"].values():  # actions end earlier
        for action in recording["annotations"]:
            action["segment"][1] = action["segment"][0] + 1.0
    other.write_text(json.dumps(content))
    config.data.annotations = str(other)
    with pytest.raises(
        DataError, match="holds a run of other recordings, not of config.data.annotations=.*other.json"
    ):
        planned_run.planned(config, workdir, said)
    assert planned_run.planned(config, workdir, said, trains=False)[1] != lines


def test_the_plan_refuses_what_it_cannot_read(files):
    folder_of_run, config = files
    path = folder_of_run / "other.json"
    values = {"system": "actionformer", "data.samples_per_frame": 1, "train.epochs": 9}
    rows = [{"field": field, "value": value, "reason": ""} for field, value in values.items()]
    config.plan.file, system, rows = str(path), json.dumps(rows)[1:-1], json.dumps(rows[:1])
    for content in (
        "3",
        "[3]",
        "[]",
        '{"a": 1}',
        '[{"field": "train.epochs", "value": 3, "reason": ""}]',
        rows,
    ):
        path.write_text(content)
        with pytest.raises(
            DataError, match="other.json is no plan that this version of tal_jax has written. Name"
        ):
            planned_run.planned(config, folder_of_run, ())
    path.write_text(f'[{system}, {{"field": "train.epoch", "value": 3, "reason": ""}}]')
    with pytest.raises(
        DataError, match=r"other.json is no plan for this config: .*epoch.* Name another file"
    ):
        planned_run.planned(config, folder_of_run, ())
    for entry, sentence in (
        ('{"field": "data", "value": {}, "reason": ""}', "is no plan for this config: data cannot be {}"),
        (
            '{"field": "train.epochs", "value": -4, "reason": 5}',
            "config.train.epochs is -4; it must be at least",
        ),
        ('{"field": 3, "value": 4, "reason": ""}', "is no plan for this config: 3 cannot be 4"),
    ):
        path.write_text(f"[{system}, {entry}]")
        with pytest.raises(DataError, match=sentence):
            planned_run.planned(config, folder_of_run, ())
    config.plan.minutes = 3.0
    with pytest.raises(
        DataError, match="config.plan.minutes and config.plan.file both say how long to train"
    ):
        planned_run.planned(config, folder_of_run, ())
    config.plan.minutes = 0.0
    path.write_text(f"[{system.replace('actionformer', 'pgcn')}]")
    with pytest.raises(DataError, match="other.json plans the system 'pgcn', which no plan is for"):
        planned_run.planned(config, folder_of_run, ())
    relabel(folder_of_run, [])
    config.plan.file = ""
    with pytest.raises(DataError, match="No recording of the subset 'train' has a label, from which a plan"):
        planned_run.planned(config, folder_of_run, ())


def test_labels_without_times_are_for_ecm(files):
    folder_of_run, config = files
    relabel(folder_of_run, [{"label": "x"}])
    config.train.epochs = 7
    made, lines = planned_run.planned(config, folder_of_run / "run", ["train.epochs"])
    require_valid(made, training=True)
    assert (made.system, made.train.epochs, made.data.features) == ("ecm", 7, config.data.features)
    # 100 s at 20 Hz are 50 cells of 40 samples; a longer recording is seen in parts of as many
    assert (made.data.samples_per_frame, made.data.statistics_samples) == (40, 256)
    assert (made.window.frames, made.window.test_stride_frames, made.window.snippets) == (51, 16, 50)
    assert made.model.streams == "pre" and made.readings == ("decode.activations=softmax",)
    (folder_of_run / "run").mkdir()
    planned_run.write_plan(folder_of_run / "run", lines)
    assert planned_run.of_run(config, folder_of_run / "run", []) == made  # what localises its actions, too
    assert made.localize.outer_ratio == 0.15
    config.plan.file = str(folder_of_run / "run" / planned_run.PLAN)
    again, of_file = planned_run.planned(config, folder_of_run / "other", ["train.epochs"])
    assert again.system == "ecm" and of_file == lines
    config.plan.file = ""
    with pytest.raises(DataError, match="config.backbone.channels is no field of ECM; labels have no times"):
        planned_run.planned(config, folder_of_run / "other", ["backbone.channels"])


def test_values_that_are_too_large_for_a_mean_are_said(files):
    folder_of_run, config = files
    np.save(folder_of_run / "features" / "a.npy", np.full((2000, 2), 1e36, np.float32))
    with pytest.raises(
        DataError, match="Recording 'a' has values up to 1e[+]36, more than 1e[+]15, too large"
    ):
        fingerprint.fingerprint(config)


def test_times_that_are_no_seconds_are_said_before_a_plan(files):
    folder_of_run, config = files
    relabel(folder_of_run, [{"label": "x", "segment": [2000.0, 4000.0]}])
    with pytest.raises(DataError, match="give the times of the annotations in seconds"):
        fingerprint.fingerprint(config)
