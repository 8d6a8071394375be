import errno
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax import evaluate, train
from tal_jax.errors import DataError
from tal_jax.ranges import leaves
from tal_jax.run_config import remember_run, trained_run
from tal_jax.runtime.checkpoints import Checkpoints, misfit, trained_channels
from tal_jax.step import TrainState
from tests import tiny_config
from tests.test_configs import get_config
from tests.test_train import saved_steps


def make_state(value, ema=None):
    params = {"layer": {"kernel": jnp.full((2, 3), value), "bias": jnp.full(3, value)}}
    average = None if ema is None else jax.tree.map(lambda leaf: jnp.full_like(leaf, ema), params)
    statistics = {"batch_stats": {"mean": jnp.full(3, value)}}
    return TrainState(jnp.int32(value), params, statistics, average, optax.adam(0.1).init(params))


def test_the_latest_and_the_best_checkpoint_stay(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.restore(make_state(0)) is None
    for step in (1, 2, 3, 4):
        checkpoints.save(step, make_state(step))
    checkpoints.save(4, make_state(40))  # is there already
    for step, map_avg in ((2, 10.0), (3, 30.0), (4, 20.0)):
        checkpoints.save_if_best(step, make_state(step), map_avg)
    checkpoints.close()
    assert saved_steps(tmp_path) == [3, 4] and saved_steps(tmp_path, "best") == [3]

    checkpoints = Checkpoints(tmp_path, keep=2)  # of the next process
    checkpoints.save_if_best(5, make_state(5), 29.0)
    assert checkpoints.restore_variables("best")["params"]["layer"]["bias"].tolist() == [3, 3, 3]
    assert checkpoints.restore_variables("latest")["params"]["layer"]["kernel"].tolist() == [
        [4, 4, 4],
        [4, 4, 4],
    ]
    restored = checkpoints.restore(make_state(0))
    assert jax.tree.structure(restored) == jax.tree.structure(make_state(4))
    jax.tree.map(np.testing.assert_array_equal, restored, make_state(4))
    checkpoints.close()


def test_a_checkpoint_does_not_know_the_devices_it_came_from(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1, ema=7))
    checkpoints.close()
    files = [path for path in (tmp_path / "checkpoints" / "latest" / "1").rglob("*") if path.is_file()]
    # so that a CPU reads what a GPU has trained
    assert files and not any(b"cpu:0" in path.read_bytes() for path in files)
    variables = Checkpoints(tmp_path).restore_variables("latest")
    params = variables["params"]
    assert variables["batch_stats"]["mean"].tolist() == [1, 1, 1]
    assert params["layer"]["bias"].tolist() == [7, 7, 7]  # the average, where there is one
    assert isinstance(params["layer"]["bias"], np.ndarray)


def test_no_checkpoint_is_one_sentence(tiny, tmp_path):
    with pytest.raises(
        DataError, match=r"No checkpoint in .*/checkpoints/best; train first with --mode=train\."
    ):
        Checkpoints(tmp_path).restore_variables("best")
    with pytest.raises(
        DataError, match=r"holds no trained run \(there is no config.json\); train first with --mode=train\."
    ):
        evaluate.evaluate(tiny("toy"), tmp_path / "empty")
    config = tiny("toy")
    config.evaluate.checkpoint = "newest"
    with pytest.raises(
        DataError, match="config.evaluate.checkpoint is 'newest'; it must be one of latest, best"
    ):
        evaluate.evaluate(config, tmp_path / "empty")


@pytest.fixture
def trained(tiny, tmp_path):
    """The config of a run with a checkpoint in tmp_path."""
    config = tiny("toy", learning_rate=1e-3)
    remember_run(config, ("fast", "slow"), tmp_path)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1))
    checkpoints.close()
    return config


def test_a_run_keeps_the_order_of_its_channels(trained, tmp_path):
    remember_run(trained, ("fast", "slow"), tmp_path, channels=("ay", "ax"))
    remember_run(trained, ("fast", "slow"), tmp_path)  # as a second stage does for its first
    assert trained_run(trained, tmp_path)[0].data.channel_names == ("ay", "ax")
    assert "channel_names" not in trained.data


def test_another_config_needs_another_workdir(trained, tmp_path):
    remember_run(trained, ("fast", "slow"), tmp_path)
    trained.train.learning_rate = 2e-3
    trained.window.train_stride_frames = 5
    with pytest.raises(DataError) as error:
        train.train(trained, tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds a run with another config: config.train.learning_rate was 0.001, is now 0.002; "
        "config.window.train_stride_frames was 32, is now 5. Choose another --workdir."
    )


def test_another_system_is_no_other_version(trained, tiny, tmp_path):
    """Its config has other fields, but what differs is the system."""
    with pytest.raises(
        DataError, match="holds a run with another config: config.system was toy, is now pgcn. Choose"
    ):
        remember_run(tiny("pgcn"), ("fast", "slow"), tmp_path)


def test_another_input_is_no_other_version(tmp_path):
    """As with another system, a config of frames has other fields than one of features."""
    features, rgb = (get_config("folder", f"dw_afsd,input={name}") for name in ("features", "rgb"))
    begin(features, tmp_path)
    with pytest.raises(DataError) as error:
        trained_run(rgb, tmp_path)
    assert str(error.value) == (
        f"{tmp_path} holds a run that was trained with data.input=features; name it after the config file: "
        "--config=….py:dw_afsd,input=features."
    )
    with pytest.raises(
        DataError, match="a run with another config: config.data.input was features, is now rgb. Choose"
    ):
        remember_run(rgb, ("fast", "slow"), tmp_path)


def test_a_run_of_before_a_field_is_not_resumed(trained, tmp_path):
    """So that no run goes on whose steps were single batches of `accumulate_steps`."""
    run = json.loads((tmp_path / "config.json").read_text())
    del run["config"]["augment"]["crop"]
    (tmp_path / "config.json").write_text(json.dumps(run))
    with pytest.raises(
        DataError, match="is of another version of tal_jax: it lacks config.augment.crop. Go on with that"
    ):
        remember_run(trained, ("fast", "slow"), tmp_path)


def test_a_trained_run_says_what_its_model_is(trained, tmp_path, caplog):
    asked = trained.copy_and_resolve_references()
    asked.train.learning_rate, asked.model.channels, asked.model.distance_multipliers = 2e-3, 64, (3.0,) * 6
    with caplog.at_level("INFO"):
        config, classes, _ = trained_run(asked, tmp_path)
    assert classes == ("fast", "slow")
    assert config.model == trained.model and config.train == trained.train
    assert (
        "was trained: config.train.learning_rate=0.001, config.model.channels=32, config.model.dist"
        in caplog.text
    )
    assert asked.model.channels == 64


def test_the_recordings_are_those_of_training_unless_others_are_named(tiny, tmp_path, caplog):
    config = tiny("toy")
    mine = str(tmp_path)  # exists
    config.data.update(annotations=mine, features=mine, test_subset="validation", stride_frames=4)
    remember_run(config, ("fast", "slow"), tmp_path)
    asked = tiny_config.get_config("toy")
    data = trained_run(asked, tmp_path)[0].data
    assert (data.annotations, data.features, data.test_subset) == (mine, mine, "validation")
    asked.data.features = "theirs"
    data = trained_run(asked, tmp_path, ["data.features"])[0].data
    assert (data.annotations, data.features, data.stride_frames) == (mine, "theirs", 4)
    config.data.annotations = "gone.json"  # which is not needed to detect
    remember_run(config, ("fast", "slow"), tmp_path)
    with caplog.at_level("INFO"):
        assert trained_run(asked, tmp_path)[0].data.annotations == ""
    assert "was trained with gone.json, which is gone; now config.data.annotations=." in caplog.text
    asked.data.name = "sbhar"  # another data set has its own recordings
    data = trained_run(asked, tmp_path)[0].data
    assert (data.name, data.annotations, data.test_subset, data.stride_frames) == ("sbhar", "", "test", 1)


@pytest.mark.parametrize(
    "field, trained_with, value",
    [
        ("data.test_subset", "validation", "test"),
        ("data.fps", 50.0, 0.0),
        ("data.stride_frames", 4, 1),
        ("data.snippet_frames", 4, 1),
        ("data.features", ".", ""),
        ("data.csv_columns", ("x", "y", "z"), ()),
        ("data.csv_skip_lines", 3, -1),
        ("data.file_prefix", "v_", ""),
        ("data.ignored_labels", ("Unknown",), ("Ambiguous",)),
        ("data.left_out", ("sunday",), ()),
        ("data.allow_missing", True, False),
    ],
)
def test_a_flag_goes_before_training_whatever_its_value(tiny, tmp_path, field, trained_with, value):
    """Each value is that of a config which says nothing."""
    config, asked = tiny("toy"), tiny("toy")
    config.update_from_flattened_dict({field: trained_with})
    asked.update_from_flattened_dict({field: value})
    remember_run(config, ("fast", "slow"), tmp_path)
    assert dict(leaves(trained_run(asked, tmp_path)[0]))[field] == trained_with
    assert dict(leaves(trained_run(asked, tmp_path, [field])[0]))[field] == value


def test_a_flag_that_training_has_fixed_is_said_to_be_ignored(tiny, tmp_path, caplog):
    remember_run(tiny("pgcn"), ("fast", "slow"), tmp_path)
    asked = tiny("pgcn")
    flags = {"train.learning_rate": 1.0, "data.num_channels": 7, "first_stage.model.channels": 64}
    free = {"decode.proposals": 3, "first_stage.decode.min_score": 0.5, "first_stage.data.fps": 3.0}
    asked.update_from_flattened_dict(flags | free)
    with caplog.at_level("INFO"):
        config, *_ = trained_run(asked, tmp_path, [*flags, *free])
    (line,) = caplog.messages
    trained = "config.train.learning_rate=0.01, config.data.num_channels=3"
    trained += ", config.first_stage.model.channels=32."
    assert line == f"As the run in {tmp_path} was trained: {trained}"
    first = config.first_stage
    assert (config.decode.proposals, first.decode.min_score, first.data.fps) == (3, 0.5, 3.0)
    assert first.model.channels == 32


def test_readings_of_decoding_are_as_asked_and_the_others_as_trained(tiny, tmp_path):
    config = tiny("dw_afsd")
    config.readings = ("loc_score=quality", "decode.refined=False")
    begin(config, tmp_path)
    asked = tiny("dw_afsd")
    asked.readings = ("detach_weights=False", "decode.keep_last=False")
    assert trained_run(asked, tmp_path)[0].readings == ("loc_score=quality", "decode.keep_last=False")
    config.readings = ("loc_score=quality",)
    remember_run(config, ("fast", "slow"), tmp_path)
    with pytest.raises(
        DataError, match="config.readings was .*loc_score=quality.*, is now .*detach_weights=False"
    ):
        remember_run(asked, ("fast", "slow"), tmp_path)


def test_columns_that_are_asked_for_go_before_those_of_training(tiny, tmp_path):
    config = tiny("toy")
    config.data.csv_columns = ("x", "y", "z")
    remember_run(config, ("fast", "slow"), tmp_path)
    asked = tiny("toy")
    assert trained_run(asked, tmp_path)[0].data.csv_columns == ("x", "y", "z")
    asked.data.csv_columns = ("u", "v", "w")
    assert trained_run(asked, tmp_path)[0].data.csv_columns == ("x", "y", "z")
    assert trained_run(asked, tmp_path, ["data.csv_columns"])[0].data.csv_columns == ("u", "v", "w")


def test_a_run_of_another_version_is_one_sentence(trained, tmp_path):
    run = json.loads((tmp_path / "config.json").read_text())
    run["config"]["model"]["layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(run))
    sentence = (
        "config.json is of another version of tal_jax: it has config.model.layers. Use the version that "
        "wrote it"
    )
    with pytest.raises(DataError, match=sentence):
        trained_run(trained, tmp_path)
    run["config"]["model"].pop("layers")
    # a network that was trained before there was a choice is another one
    run["config"]["model"].pop("groups")
    (tmp_path / "config.json").write_text(json.dumps(run))
    with pytest.raises(
        DataError, match="config.json is of another version of tal_jax: it lacks config.model.groups"
    ):
        trained_run(trained, tmp_path)


def test_what_may_change_while_a_run_goes_on(trained, tmp_path):
    trained.train.save_every_steps = 3
    trained.decode.nms_sigma = 0.1
    trained.parallel.max_devices = 2
    remember_run(trained, ("fast", "slow"), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["config"]["train"]["save_every_steps"] == 3


def begin(config, workdir):
    """Makes the workdir that of a run with a checkpoint."""
    remember_run(config, ("fast", "slow"), workdir)
    (workdir / "checkpoints" / "latest" / "1").mkdir(parents=True)


def test_a_workdir_may_be_moved_and_spelt_in_any_way(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tiny("pgcn")
    config.proposals = "run/first_stage/proposals.json"
    begin(config, tmp_path / "run")
    shutil.move("run", "moved")
    for folder in ("moved", tmp_path / "moved", "moved/../moved"):
        config.proposals = f"{folder}/first_stage/proposals.json"
        remember_run(config, ("fast", "slow"), folder)
    assert (
        json.loads((tmp_path / "moved" / "config.json").read_text())["config"]["proposals"]
        == "first_stage/proposals.json"
    )
    config.proposals = "run/first_stage/proposals.json"
    with pytest.raises(
        DataError,
        match="config.proposals was first_stage/proposals.json, is now run/first_stage/proposals.json. Ch",
    ):
        remember_run(config, ("fast", "slow"), "moved")


@pytest.mark.parametrize(
    "field, value, free",
    [
        ("train.log_every_steps", 7, True),
        ("parallel.max_devices", 2, True),
        ("evaluate.tious", (0.5,), True),
        ("data.features", "elsewhere", True),
        ("train.epochs", 9, False),
        ("propose.most", 7, False),  # the second stage learns from these
        ("decode.min_score", 0.5, False),
        ("evaluate.checkpoint", "best", False),
    ],
)
def test_what_may_change_of_a_first_stage(tiny, tmp_path, field, value, free):
    config = tiny("pgcn")
    config.first_stage.data.features = "here"
    begin(config, tmp_path)
    config.first_stage.update_from_flattened_dict({field: value})
    if free:
        remember_run(config, ("fast", "slow"), tmp_path)
        return
    with pytest.raises(
        DataError, match=f"another config: config.first_stage.{field} was [^;]*, is now {value}. Choose"
    ):
        remember_run(config, ("fast", "slow"), tmp_path)


@pytest.mark.parametrize(
    "system, field, value",
    [
        ("toy", "toy.channels", 5),
        ("tcanet", "loss.iou_thresholds", (0.5, 0.6)),  # a stage of refinement for each threshold
        ("pgcn", "window.snippets", 100),  # how the features were pooled that it has learned from
        ("pgcn_dw", "readings", ("auxiliary_features=cls",)),  # what the auxiliary head reads
        ("dw_afsd", "readings", ("auxiliary_features=towers",)),
    ],
)
def test_fields_of_the_model_are_as_it_was_trained(tiny, tmp_path, system, field, value):
    config = tiny(system)
    config.update_from_flattened_dict({field: value})
    remember_run(config, ("fast", "slow"), tmp_path)
    found, *_ = trained_run(tiny(system), tmp_path)
    assert dict(leaves(found))[field] == value


def test_other_classes_need_another_workdir(trained, tmp_path):
    with pytest.raises(
        DataError, match="holds a run with another config: the classes were fast, slow, are now slow, fast"
    ):
        remember_run(trained, ("slow", "fast"), tmp_path)


def test_channels_of_another_order_need_another_workdir(trained, tmp_path):
    remember_run(trained, ("fast", "slow"), tmp_path, channels=["ax", "ay"])
    for same in (["ax", "ay"], [], None):  # or files without names
        remember_run(trained, ("fast", "slow"), tmp_path, channels=same)
    with pytest.raises(DataError, match="the channels were ax, ay, are now ay, ax. Choose another --workdir"):
        remember_run(trained, ("fast", "slow"), tmp_path, channels=["ay", "ax"])


@pytest.mark.parametrize("content", ["{", "[" * 100_000, '{"classes": 1, "classes": 2}'])
def test_a_damaged_config_is_one_sentence(trained, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    for use in (
        lambda: remember_run(trained, ("fast", "slow"), tmp_path),
        lambda: trained_run(trained, tmp_path),
    ):
        with pytest.raises(
            DataError, match="config.json is missing or damaged; choose another --workdir, or delete this one"
        ):
            use()


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda run: run["config"].pop("system"), "its config names no system"),
        (lambda run: run.update(config=3), "its config names no system"),
        (lambda run: run["config"].update(first_stage=3), "its first_stage is no config"),
        (lambda run: run.update(classes=[1, 2]), r"its classes must be a list of names, and are \[1, 2\]"),
        (lambda run: run.update(classes="ab"), "its classes must be a list of names, and are 'ab'"),
        (lambda run: run.update(classes=["fast", "fast"]), "it names a class twice"),
        (lambda run: run["config"]["window"].update(frames="many"), "window.frames|many|int"),
        (
            lambda run: run["config"]["window"].update(frames=-5),
            "config.window.frames is -5; it must be at least 0",
        ),
        (
            lambda run: run["config"].update(model=3),
            "config.json is of another version of tal_jax: it has config.model",
        ),
    ],
)
def test_what_is_wrong_in_a_config_is_said(trained, tmp_path, change, sentence):
    run = json.loads((tmp_path / "config.json").read_text())
    change(run)
    (tmp_path / "config.json").write_text(json.dumps(run))
    with pytest.raises(DataError, match=sentence) as error:
        trained_run(trained, tmp_path)
    assert "config.json is " in str(error.value) and "\n" not in str(error.value)


# Damaged checkpoints


def damages(folder):
    """(name, function that does the damage) for every file of a checkpoint, and for the folders."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_dir():
            yield f"{name} gone", lambda path=path: shutil.rmtree(path)
            continue
        content = path.read_bytes()
        yield f"{name} gone", path.unlink
        yield f"{name} cut", lambda path=path, content=content: path.write_bytes(content[: len(content) // 2])
        yield f"{name} zeros", lambda path=path, content=content: path.write_bytes(bytes(len(content)))
        half = len(content) // 2
        flipped = (
            content[:half] + bytes(255 - byte for byte in content[half : half + 1]) + content[half + 1 :]
        )
        yield f"{name} flipped", lambda path=path, flipped=flipped: path.write_bytes(flipped)


def test_a_damaged_checkpoint_is_one_sentence_or_the_same_weights(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(1, make_state(1))
    checkpoints.close()
    whole = jax.tree.leaves(Checkpoints(tmp_path / "run").restore_variables("latest"))
    whole_state, refused, wrong = jax.tree.leaves(make_state(1)), 0, []
    for number, (name, _) in enumerate(damages(tmp_path / "run" / "checkpoints" / "latest")):
        for restore, expected in (
            (lambda checkpoints: checkpoints.restore_variables("latest"), whole),
            (lambda checkpoints: checkpoints.restore(make_state(0)), whole_state),
        ):
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            shutil.copytree(tmp_path / "run", tmp_path / "copy")
            list(damages(tmp_path / "copy" / "checkpoints" / "latest"))[number][1]()
            try:
                found = restore(Checkpoints(tmp_path / "copy"))
                if found is not None:  # a checkpoint that is gone as a whole is none
                    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(found), expected)
            except DataError as error:
                refused += 1
                if "\n" in str(error) or not str(error).endswith("."):
                    wrong.append((name, str(error)))
            except Exception as error:
                wrong.append((name, repr(error)))
    assert not wrong and refused > 10


def wrapped(error):
    outer = ValueError("Orbax could not restore")
    outer.__cause__ = error
    return outer


@pytest.mark.parametrize(
    "error, words",
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "a"),
            "cannot be read: Cannot use a: Permission denied.",
        ),
        (
            OSError(errno.EMFILE, "Too many open files", "a"),
            "cannot be read: Cannot use a: Too many open files.",
        ),
        (OSError(errno.EIO, "Input/output error", "a"), "cannot be read: Cannot use a: Input/output error."),
        (
            ValueError("PERMISSION_DENIED: Error opening: Permission denied [source locations]"),
            "cannot be read: Permission denied.",
        ),
        (
            wrapped(OSError(errno.EMFILE, "Too many open files", "a")),
            "cannot be read: Cannot use a: Too many open files.",
        ),
        (MemoryError("Unable to allocate 2 TiB"), "Unable to allocate 2 TiB"),
        (
            jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"),
            "RESOURCE_EXHAUSTED: Out of memory",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "a"), "No space left"),
    ],
)
def test_what_is_no_damage_of_a_checkpoint_is_not_called_so(tmp_path, monkeypatch, error, words):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("tal_jax.runtime.checkpoints.ocp.CheckpointManager", fail)
    with pytest.raises(Exception, match=words) as raised:
        Checkpoints(tmp_path)
    assert "damaged" not in str(raised.value) and "delete this" not in str(raised.value)


def test_a_folder_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, make_state(1))
    checkpoints.close()
    closed = tmp_path / "checkpoints" / "latest" / "1" / "default"
    closed.rename(tmp_path / "elsewhere")  # as Orbax sees a folder that it may not enter
    closed.mkdir()
    monkeypatch.setattr(os, "access", lambda path, _: path != closed)  # root may read everything
    with pytest.raises(
        DataError, match="latest/1 cannot be read: Permission denied, .*default. It may be whole"
    ):
        Checkpoints(tmp_path).restore_variables("latest")


def test_a_checkpoint_of_another_network_is_one_sentence(trained, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    other = make_state(1).replace(params={"other": {"kernel": jnp.ones((2, 3))}})
    with pytest.raises(DataError, match="is of another network than its run: it has layer/bias"):
        checkpoints.restore(other)
    wider = make_state(1).replace(params={"layer": {"kernel": jnp.ones((2, 4)), "bias": jnp.ones(3)}})
    with pytest.raises(DataError, match=r"its layer/kernel has the shape \(2, 3\), not \(2, 4\)"):
        checkpoints.restore(wider)
    checkpoints.close()


def test_a_checkpoint_of_another_network_finds_nothing(trained, tmp_path):
    sentence = (
        r"not that of the network that config.json beside it tells of \(toy, 2 classes: fast, slow\): it has "
        r"\w+/.*\. Put back"
    )
    with pytest.raises(DataError, match=sentence):
        evaluate.evaluate(trained, tmp_path)
    assert not (tmp_path / "detections.json").exists()


def test_what_does_not_fit_is_named():
    tree = {"a": {"kernel": np.ones((9, 3, 8)), "bias": np.ones(8)}}
    assert misfit(tree, tree) == ""
    others = {"a": {"kernel": np.ones((9, 4, 8)), "bias": np.ones(8)}}
    assert misfit(tree, others) == "its a/kernel has the shape (9, 3, 8), not (9, 4, 8)"
    assert trained_channels(tree, others, 4) == 3
    assert trained_channels(tree, others, 5) is None  # a kernel of other taps has the same shapes
    others["a"]["bias"] = np.ones(9)
    assert trained_channels(tree, others, 4) is None and trained_channels(tree, tree, 3) is None
    assert misfit(tree, {"a": {"kernel": np.ones(3)}}) == "it has a/bias"
    assert misfit({"a": {"kernel": np.ones(3)}}, tree) == "it lacks a/bias"


def test_without_a_checkpoint_the_config_may_change(tiny, tmp_path):
    remember_run(tiny("toy", learning_rate=1e-3), ("fast", "slow"), tmp_path)
    remember_run(tiny("toy", learning_rate=2e-3), ("a", "b", "c"), tmp_path)
    assert trained_run(tiny("toy"), tmp_path)[1] == ("a", "b", "c")
