import numpy as np
import pytest

from tal_jax.systems.afsd import contrastive
from tests.golden_case import GoldenCase

WINDOW = 256
GOLDEN = GoldenCase.load("afsd/contrastive_rearrangement")
SUB_CASES = list(enumerate(GOLDEN.info["sub_cases"]))


@pytest.mark.parametrize("number, case", [item for item in SUB_CASES if item[1]["flag"]])
def test_split_and_fill_is_the_published_one(number, case):
    segments = np.array(case["annotations"])[:, :2]
    action, gap = case["chosen_action"][:2], case["chosen_background_gap"]
    assert gap in contrastive.background_gaps(segments, case["th"], WINDOW).tolist()
    split_frame = case["chosen_split_offset"] + np.ceil(action[0])
    background_frame = case["chosen_background_offset"] + np.ceil(gap[0])
    result = contrastive.split_and_fill(action, split_frame, background_frame, case["th"], WINDOW)
    np.testing.assert_array_equal(result["frame_map"], GOLDEN.arrays[f"frame_map_{number}"])
    np.testing.assert_array_equal(result["proposals"], np.array(case["proposals"], np.float32))


@pytest.mark.parametrize("number, case", SUB_CASES)
def test_whether_a_window_can_be_rearranged_is_as_published(number, case):
    segments = np.array(case["annotations"])[:, :2]
    result = contrastive.rearrange(segments, case["th"], WINDOW, np.random.default_rng(number))
    assert result["valid"] == case["flag"]
    assert result["frame_map"].dtype == np.int32 and result["proposals"].dtype == np.float32
    if not case["flag"]:
        np.testing.assert_array_equal(result["frame_map"], np.arange(WINDOW))
        np.testing.assert_array_equal(result["proposals"], np.zeros((3, 2)))


@pytest.mark.parametrize("seed", range(50))
def test_rearranged_window_keeps_both_parts_and_the_background(seed):
    action, block = (100.0, 140.0), 10
    result = contrastive.rearrange([action], block, WINDOW, np.random.default_rng(seed))
    # every frame is there once
    np.testing.assert_array_equal(np.sort(result["frame_map"]), np.arange(WINDOW))
    (first, second, background), frames = result["proposals"], result["frame_map"]
    np.testing.assert_allclose(second[0] - first[1], block)
    np.testing.assert_allclose((first[1] - first[0]) + (second[1] - second[0]), 40)
    assert first[1] - first[0] >= block and second[1] - second[0] >= block
    inserted = frames[int(background[0]) - 1 : int(background[1]) + 1]
    assert len(inserted) == block and ((inserted < 100) | (inserted > 140)).all()
    old_action = np.concatenate(
        [frames[int(first[0]) : int(first[1])], frames[int(second[0]) : int(second[1])]]
    )
    np.testing.assert_array_equal(old_action, np.arange(100, 140))


def test_an_action_of_exactly_twice_the_length_is_split_only_for_activitynet():
    segments = [[100.0, 120.0]]
    assert not contrastive.rearrange(segments, 10, WINDOW, np.random.default_rng(0))["valid"]
    result = contrastive.rearrange(segments, 10, WINDOW, np.random.default_rng(0), activitynet=True)
    assert result["valid"] and 110 in result["proposals"][:2]


def test_no_actions():
    assert not contrastive.rearrange(np.zeros((0, 2)), 3, WINDOW, np.random.default_rng(0))["valid"]


def test_min_action_length():
    assert contrastive.min_action_length(7.2) == 8
    assert contrastive.min_action_length(7.9, activitynet=True) == 1
    assert contrastive.min_action_length(8, activitynet=True) == 2
