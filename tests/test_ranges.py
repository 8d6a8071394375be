"""What the fields of a config may be: every number has a range, and lists on the command line are lists."""

import math

import ml_collections
import pytest

from configs.sbhar import get_config as sbhar_config
from tal_jax.config import ListParser
from tal_jax.errors import DataError
from tal_jax.evaluate import find_runs
from tal_jax.ranges import COLUMNS, NAMES, RANGES, _ends, allowed_of, leaves, require_fields
from tal_jax.readings import reading
from tal_jax.run_config import remember_run
from tal_jax.systems import require_valid
from tests.test_configs import VARIANTS, get_config


@pytest.mark.parametrize("name", VARIANTS)
def test_every_number_of_every_config_has_a_range_and_is_in_it(name):
    for variant in VARIANTS[name]:
        config = get_config(name, variant)
        # the others need a file of class scores
        require_valid(config, training=variant != "tcanet" or name == "sbhar")
        for field, value in leaves(config):
            numbers = [value] if not isinstance(value, tuple) else list(value)
            if (
                any(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in numbers)
                or value == ()
            ):
                assert allowed_of(field), field


def test_every_interval_can_be_read():
    for allowed in RANGES.values():
        if isinstance(allowed, str) and allowed not in (NAMES, COLUMNS):
            (low, _), (high, _) = _ends(allowed)
            assert low < high


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("train.ema_decay", 1.5, "config.train.ema_decay is 1.5; it must be at least 0 and below 1."),
        ("train.learning_rate", -1.0, "config.train.learning_rate is -1.0; it must be above 0."),
        ("train.learning_rate", math.nan, "config.train.learning_rate is nan; it must be above 0."),
        ("data.fps", math.nan, "config.data.fps is nan; it must be at least 0."),
        ("data.fps", math.inf, "config.data.fps is inf; it must be at most 1000000."),
        ("data.stride_frames", -1, "config.data.stride_frames is -1; it must be at least 0."),
        ("window.train_stride_frames", 0, "config.window.train_stride_frames is 0; it must be at least 1."),
        ("seed", -1, "config.seed is -1; it must be at least 0."),
        (
            "evaluate.tious",
            ("abc",),
            "config.evaluate.tious is ('abc',); each of its numbers must be above 0 and at most 1.",
        ),
        ("evaluate.tious", (), "config.evaluate.tious is empty; it must have at least one entry."),
        ("window.frames", 1280000000, "config.window.frames is 1280000000; it must be at most 100000."),
        (
            "train.warmup_steps",
            10**12,
            "config.train.warmup_steps is 1000000000000; it must be at most 100000000.",
        ),
        (
            "train.decay_epochs",
            (1e30,),
            "config.train.decay_epochs is (1e+30,); each of its whole numbers must be at most 1000000.",
        ),
        (
            "loss.level_bounds",
            ((0, 10), (5, math.nan)),
            "config.loss.level_bounds is ((0, 10), (5, nan)); each of its numbers ",
        ),
        (
            "data.left_out",
            (12,),
            "config.data.left_out has 12; it must be names. Put those that look like numbers into quotes",
        ),
        ("data.left_out", ("",), "config.data.left_out has ''; it must be names."),
        ("evaluate.other_recordings", "kept", "is 'kept'; it must be one of ignored, false positives."),
        (
            "evaluate.tious",
            (0.5, {1}),
            "config.evaluate.tious is (0.5, {1}); each of its numbers must be above 0 and at most 1.",
        ),
        (
            "evaluate.tious",
            (1j,),
            "config.evaluate.tious is (1j,); each of its numbers must be above 0 and at most 1.",
        ),
        ("augment.crop", 1.2, "config.augment.crop is 1.2; it must be from 0 to 1."),
        (
            "evaluate.tious",
            ((0.5,),),
            "config.evaluate.tious is ((0.5,),); each of its numbers must be above",
        ),
        ("evaluate.recall_at", (1.5,), "config.evaluate.recall_at is (1.5,); each of its whole numbers must"),
        ("train.decay_epochs", (2.0,), "config.train.decay_epochs is (2.0,); each of its whole numbers must"),
        (
            "loss.level_bounds",
            (0, 10),
            "config.loss.level_bounds is (0, 10); each of its entries must be two",
        ),
        (
            "loss.level_bounds",
            ((0, (1, 2)), (5, 6)),
            "config.loss.level_bounds is ((0, (1, 2)), (5, 6)); each of its numbers must be at least 0.",
        ),
    ],
)
def test_a_value_that_cannot_be_is_one_sentence(field, value, sentence):
    config = sbhar_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(DataError) as error:
        require_valid(config, training=True)
    assert sentence in str(error.value)
    with pytest.raises(DataError):
        require_fields(config)  # without the network, too


def test_both_stages_are_checked_before_the_first_is_trained():
    config = sbhar_config("pgcn")
    config.pools.foreground = 0
    with pytest.raises(DataError, match="^config.pools.foreground is 0; it must be at least 1.$"):
        require_valid(config, training=True)
    config = sbhar_config("tcanet")
    config.model.window_size = 8
    with pytest.raises(DataError, match="^config.model.window_size is 8; it must be odd"):
        require_valid(config, training=True)
    require_valid(config, training=False)  # the trained run says what its model is
    config = sbhar_config("tcanet")
    config.first_stage.train.epochs = 0
    with pytest.raises(DataError, match="^config.first_stage.train.epochs is 0; it must be at least 1.$"):
        require_valid(config, training=True)


def test_a_choice_that_comes_back_with_a_run_is_checked(tmp_path):
    config = sbhar_config("ecm")
    config.model.streams = "fore"
    with pytest.raises(DataError, match="config.model.streams is 'fore'; it must be one of both, pre, post"):
        require_valid(config, training=False)
    remember_run(config, ("walk",), tmp_path)
    with pytest.raises(DataError, match="config.model.streams is 'fore'; it must be one of both, pre, post"):
        find_runs(sbhar_config("ecm"), tmp_path)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("a,b", ("a", "b")),
        ("a, b", ("a", "b")),
        ("video_test_0000270", ("video_test_0000270",)),
        ("0012,0013", ("0012", "0013")),
        ("v_-x,b c", ("v_-x", "b c")),
        ("('a,b',)", ("a,b",)),
        ("0.3,0.5", (0.3, 0.5)),
        ("[0.3, 0.5]", (0.3, 0.5)),
        ("0.5", (0.5,)),
        ("((0, 10), (5, 20))", ((0, 10), (5, 20))),
        ("", ()),
        (["a", "b,c"], ("a", "b", "c")),
    ],
)
def test_lists_on_the_command_line(text, expected):
    assert ListParser().parse(text) == expected


def test_brackets_that_cannot_be_read_are_one_sentence():
    with pytest.raises(ValueError, match=r"^\(0.3, is not a list such as a,b or \(1, 2\).$"):
        ListParser().parse("(0.3,")


def test_a_field_may_be_a_reference_to_another():
    config = ml_collections.ConfigDict({"train": {"epochs": 3}})
    config.seed = config.train.get_ref("epochs") * -1
    with pytest.raises(DataError, match="config.seed is -3"):
        require_fields(config)


def test_open_points_are_read_by_name():
    config, points = sbhar_config(), {"score": ("tiou", "quality"), "first": (0, 1), "detach": (True, False)}
    assert [reading(config, name, points) for name in points] == ["tiou", 0, True]
    config.readings = ("score=quality", "detach=False")
    require_fields(config, readings=points)
    assert [reading(config, name, points) for name in points] == ["quality", 0, False]


@pytest.mark.parametrize("training", [True, False])
def test_a_reading_is_checked_in_every_mode(training):
    config = sbhar_config("tcanet")
    config.readings = ("refined=False",)
    with pytest.raises(
        DataError, match="config.readings has 'refined'; the open points of tcanet are .*decode.refined"
    ):
        require_valid(config, training)
    config.readings = (5,)
    with pytest.raises(DataError, match="config.readings has 5; it must be names"):
        require_valid(config, training)


@pytest.mark.parametrize(
    "readings, sentence",
    [
        (("score=best",), "config.readings has 'score=best'; it may have score=tiou or score=quality."),
        (("score",), "config.readings has 'score='; it may have score=tiou or score=quality."),
        (("skore=tiou",), "config.readings has 'skore'; the open points of dw_afsd are score."),
        (("score=tiou", "score=quality"), "config.readings says 'score' twice; say it once."),
    ],
)
def test_a_reading_that_cannot_be_is_one_sentence(readings, sentence):
    config = sbhar_config()
    config.readings = readings
    with pytest.raises(DataError) as error:
        require_fields(config, readings={"score": ("tiou", "quality")})
    assert str(error.value) == sentence
