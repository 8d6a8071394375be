import math

import numpy as np
import pytest

from tal_jax.data import windows
from tal_jax.data.sets import thumos14
from tests.golden_case import GoldenCase


@pytest.fixture(scope="module")
def golden():
    return GoldenCase.load("afsd/training_windows")


@pytest.fixture(scope="module")
def thumos_windows(golden):
    """(video index, offset, segments, labels) of every training window of THUMOS14."""
    table = thumos14.frame_annotations_10fps()
    assert list(table) == golden.info["videos"]
    grid = dict(
        window=golden.info["hyper"]["clip_length"], stride=golden.info["hyper"]["stride"], first_frame=1
    )
    return [
        (number, *window)
        for number, video in enumerate(table.values())
        for window in windows.training_windows(
            video["segments_frame"], video["labels"], video["num_frames"], **grid
        )
    ]


def test_thumos_training_windows_are_the_published_ones(golden, thumos_windows):
    videos, offsets, segments, labels = zip(*thumos_windows, strict=True)
    np.testing.assert_array_equal(videos, golden.arrays["window_video"])
    np.testing.assert_array_equal(offsets, golden.arrays["window_offset"])
    np.testing.assert_array_equal([len(rows) for rows in segments], golden.arrays["window_num_annotations"])
    np.testing.assert_array_equal(
        np.concatenate(segments).astype(np.float32), golden.arrays["annotations"][:, :2]
    )
    np.testing.assert_array_equal(np.concatenate(labels) + 1, golden.arrays["annotations"][:, 2])


def test_thumos_boundary_labels_are_the_published_ones(golden, thumos_windows):
    frame_labels = np.stack([windows.boundary_labels(segments, 256) for _, _, segments, _ in thumos_windows])
    np.testing.assert_array_equal(frame_labels[:, 0].sum(-1), golden.arrays["start_sum"])
    np.testing.assert_array_equal(frame_labels[:, 1].sum(-1), golden.arrays["end_sum"])
    sampled = frame_labels[golden.arrays["sample_index"]]
    np.testing.assert_array_equal(sampled[:, 0], golden.arrays["sample_start"])
    np.testing.assert_array_equal(sampled[:, 1], golden.arrays["sample_end"])


def test_thumos_shortest_actions_are_the_published_ones(golden):
    shortest = [
        windows.shortest_action(
            video["segments_frame"], video["num_frames"], window=256, stride=30, first_frame=1
        )
        for video in thumos14.frame_annotations_10fps().values()
    ]
    np.testing.assert_array_equal(
        [math.ceil(length) for length in shortest], golden.arrays["min_action_length"]
    )


@pytest.mark.parametrize(
    "num_frames, offsets",
    [(1, [0]), (10, [0]), (11, [0, 1]), (14, [0, 4]), (15, [0, 4, 5]), (22, [0, 4, 8, 12])],
)
def test_window_offsets_cover_every_frame(num_frames, offsets):
    assert windows.window_offsets(num_frames, window=10, stride=4) == offsets


def test_cut_window_keeps_what_is_half_inside_and_clips_it():
    segments = [[0, 20], [4, 20], [10, 30], [14, 18], [19, 31], [50, 60]]
    # frames 11 to 20
    cut, labels = windows.cut_window(segments, np.arange(6), offset=10, window=10, first_frame=1)
    np.testing.assert_array_equal(labels, [1, 3])  # the first is 9/20 inside, the third 9/20, the fifth 1/12
    np.testing.assert_array_equal(cut, [[1, 10], [4, 8]])


def test_features_cover_what_they_hold_half_of():
    actions = [[-1.5, 10], [20, 30], [95, 97], [95.8, 110], [-4, 1], [96, 99]]  # frames of a recording of 96
    covered = windows.cover(actions, 96)
    np.testing.assert_array_equal(covered, [[0, 10], [20, 30], [95, 96], [95.8, 110], [-4, 1], [96, 99]])
    kept, _ = windows.cut_window(covered, np.arange(6), 0, 96)
    np.testing.assert_array_equal(kept, [[0, 10], [20, 30], [95, 96]])


def test_cut_window_leaves_out_segments_without_length():
    cut, labels = windows.cut_window([[5, 5], [8, 6], [2, 9]], [0, 1, 2], offset=0, window=10)
    np.testing.assert_array_equal(cut, [[2, 9]])
    np.testing.assert_array_equal(labels, [2])


def test_cut_window_of_a_recording_without_actions():
    cut, labels = windows.cut_window(np.zeros((0, 2)), np.zeros(0, np.int32), offset=0, window=10)
    assert cut.shape == (0, 2) and labels.shape == (0,) and labels.dtype == np.int32
    assert windows.training_windows(np.zeros((0, 2)), [], 100, window=10, stride=4) == []
    assert windows.shortest_action(np.zeros((0, 2)), 100, window=10, stride=4) == 10


def test_training_windows_hold_a_whole_action():
    found = windows.training_windows([[6, 14]], [3], 40, window=10, stride=4, first_frame=1)
    # frames 5 to 14 are the only ones of the grid that hold 6 to 14
    assert [offset for offset, _, _ in found] == [4]
    np.testing.assert_array_equal(found[0][1], [[2, 10]])
    np.testing.assert_array_equal(found[0][2], [3])


def test_an_action_may_begin_with_the_recording():
    ((offset, segments, _),) = windows.training_windows([[0, 8]], [3], 10, window=10, stride=4)
    assert offset == 0
    np.testing.assert_array_equal(segments, [[0, 8]])


def test_background_windows_hold_no_part_of_an_action():
    grid = dict(window=10, stride=5)
    assert windows.background_offsets([], 30, **grid) == [0, 5, 10, 15, 20]
    assert windows.background_offsets([[12, 15]], 30, **grid) == [0, 15, 20]
    # reversed, so it is not known what it is
    assert windows.background_offsets([[15, 12]], 30, **grid) == [0, 15, 20]
    assert windows.background_offsets([[9.9, 40]], 30, **grid) == []
    assert windows.background_offsets([], 4, **grid) == [0]


def test_shortest_action_counts_clipped_ones():
    # No window of the grid holds all 8 frames; that of frames 9 to 18 holds 6, more than half.
    assert windows.shortest_action([[7, 15]], 40, window=10, stride=8, first_frame=1) == 6


def test_boundary_labels_by_hand():
    starts, ends = windows.boundary_labels([[5, 12], [30, 60]], window=64)
    # round(28.5), round(31.5): to even
    np.testing.assert_array_equal(np.flatnonzero(starts), [4, 5, 6, 28, 29, 30, 31, 32])
    np.testing.assert_array_equal(np.flatnonzero(ends), [11, 12, 13, 58, 59, 60, 61, 62])
    assert starts.dtype == np.float32
    np.testing.assert_array_equal(np.flatnonzero(windows.boundary_labels([[1, 64]], 64)[1]), [61, 62, 63])
