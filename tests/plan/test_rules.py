"""The rules of a plan on hand-made fingerprints."""

import numpy as np
import pytest

from configs import folder
from tal_jax import plan, planned_run
from tal_jax.systems import require_valid
from tests.plan.cases import fields_of, seen_of


def test_walks_and_turns_of_a_phone():
    """A tenth of the actions lasts 3.2 s, the longest 40 s: 8 cells of 0.4 s, windows of 256 cells."""
    fields = fields_of(seen_of([3.2] * 20 + [20.0] * 60 + [40.0]))
    assert fields["data.samples_per_frame"] == 20 and fields["data.statistics_samples"] == 64
    assert (fields["window.frames"], fields["train.batch_size"]) == (256, 4)
    assert fields["loss.level_bounds"] == ((0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 10000))
    # 4 hours are 36,000 cells, 141 windows, 36 steps of 4
    assert fields["train.epochs"] == 34 and fields["data.channel_scales"] == (2.0,) * 6


def test_a_short_recording_keeps_its_own_mean():
    lengths = [3.2] * 20 + [20.0] * 60 + [40.0]
    assert fields_of(seen_of(lengths))["data.standardised"]
    assert not fields_of(seen_of(lengths, recording_sec=60.0))["data.standardised"]


def test_feature_vectors_are_cells():
    fields = fields_of(seen_of([2.0, 5.0, 9.0], rows_a_sec=1.875, channels=2048))
    assert (fields["data.samples_per_frame"], fields["data.statistics_samples"]) == (1, 0)
    assert not fields["data.standardised"]


@pytest.mark.parametrize("seed", range(30))
def test_any_actions_have_a_config_that_trains(seed):
    """Short actions take cells enough, and the longest fits into a window and into the last level."""
    rng = np.random.default_rng(seed)
    lengths = np.exp(rng.uniform(-4, 1) + rng.uniform(0.1, 1.5) * rng.standard_normal(100))
    rate, channels = float(10 ** rng.uniform(0, 3)), int(rng.integers(1, 100))
    seen = seen_of(lengths, rate, channels, hours=rng.uniform(0.01, 10))
    fields = fields_of(seen)
    cell_sec = fields["data.samples_per_frame"] / rate
    assert fields["data.samples_per_frame"] == 1 or seen.quantile_sec(0.1) > 2.5 * cell_sec
    longest = lengths.max() / cell_sec
    assert fields["window.frames"] >= min(longest, 4 * plan.MOST_CELLS)
    assert 1 <= fields["train.warmup_epochs"] < fields["train.epochs"]


def test_eye_movements_of_milliseconds_are_samples_beside_their_statistics():
    rng = np.random.default_rng(0)
    fields = fields_of(seen_of([*rng.uniform(0.016, 0.06, 500), *rng.uniform(0.2, 4, 500)], 500.0, 2))
    assert fields["data.samples_per_frame"] < 4 and fields["window.frames"] >= 1024
    assert (fields["data.statistics_samples"], fields["data.samples_beside"]) == (16, True)
    features = fields_of(seen_of([3.2] * 20, 2.5, 2048))
    assert (features["data.statistics_samples"], features["data.samples_beside"]) == (0, False)


def test_the_system_and_its_reason():
    config = folder.get_config()
    reason = lambda **fields: plan.lines_of(seen_of([3.2])._replace(**fields), config, ())[0].reason
    assert reason(of_classes=(7, 7)) == "actions have times; 7 of each class"
    assert reason(of_classes=(7, 2, 9), overlap=True) == (
        "actions have times, and some overlap; 3 classes of 2 to 9"
    )


def test_a_cell_is_no_longer_than_the_shortest_recording():
    seen = seen_of([30.0] * 20)
    assert fields_of(seen)["data.samples_per_frame"] == 188
    assert fields_of(seen._replace(shortest_rows=30))["data.samples_per_frame"] == 30


def test_levels_that_are_set_by_hand_have_their_bounds():
    config = folder.get_config()
    config.backbone.branch_blocks = 4
    fields = fields_of(seen_of([3.2] * 20), ["backbone.branch_blocks"], config)
    assert len(fields["loss.level_bounds"]) == 5


def test_a_very_long_recording_without_times_is_one_window():
    seen = seen_of([], recording_sec=2.0)._replace(longest_rows=10**6)
    config = planned_run.plan.of_labels(folder.get_config(), ())
    lines = {line.field: line.value for line in plan.lines_of(seen, config, ())}
    assert lines["window.frames"] == 0


def test_sound_without_times_keeps_to_the_ranges_of_fields():
    for seen in (
        seen_of([], rows_a_sec=44100.0, channels=1, recording_sec=150.0)._replace(longest_rows=44100 * 150),
        seen_of([], rows_a_sec=1000.0, channels=70)._replace(longest_rows=5 * 10**6),
    ):
        config = planned_run.plan.of_labels(folder.get_config(), ())
        plan.lines_of(seen, config, ())
        require_valid(config, training=False)


def test_recordings_of_many_actions_keep_as_many_detections():
    few, many = fields_of(seen_of([3.2] * 20)), fields_of(seen_of([3.2] * 20)._replace(most_actions=2000))
    limits = ("decode.max_per_recording", "decode.max_per_level")
    assert [few[field] for field in limits] == [200, 2000]
    assert [many[field] for field in limits] == [40_000, 80_000]


def test_a_field_set_by_hand_stays_and_later_rules_build_on_it():
    config = folder.get_config()
    config.data.samples_per_frame = 10
    fields = fields_of(seen_of([3.2] * 20 + [40.0]), ["data.samples_per_frame"], config)
    assert fields["data.samples_per_frame"] == 10 and fields["data.statistics_samples"] == 32
    assert fields["window.frames"] == 512
