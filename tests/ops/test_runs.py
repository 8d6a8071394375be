"""From class activation sequences to segments: against ECM's published way, by hand, and a plain loop."""

import tracemalloc

import cv2
import ml_collections
import numpy as np
import pytest

from benchmarks import ecm_localize as golden
from tal_jax.ops.runs import (
    group_runs,
    inner_minus_outer,
    likely_runs,
    minmax_normalise,
    published_runs,
)
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.ecm.decode import decode, localize
from tal_jax.systems.ecm.model import Outputs
from tests.golden_case import GoldenCase

VIDEOS = ("localize_thumos", "localize_thumos_short_positive", "localize_anet13")


def make_settings(**fields):
    return ml_collections.ConfigDict(
        {"thresholds": (0.1, 0.5), "outer_ratio": 0.5, "probability_weight": 0.25} | fields
    )


def random_arrays(seed, snippets=30, num_classes=5):
    """A slow random walk for each class, so that there are runs of many lengths, and probabilities."""
    rng = np.random.default_rng(seed)
    cas = np.cumsum(rng.standard_normal((snippets, num_classes)), axis=0) * rng.choice(
        [0.1, 1, 10], num_classes
    )
    return {
        "cas": cas.astype(np.float32),
        "probabilities": rng.dirichlet(np.ones(num_classes)).astype(np.float32),
    }


def plain_runs(settings, min_probability, cas, probabilities, num_frames):
    """Rows [class, start, end, score], one frame at a time."""
    rows = []
    for label in range(cas.shape[1]):
        if probabilities[label] < min_probability:
            continue
        values = cas[:, label]
        low, high = max(values.min(), 0), max(values.max(), 0)
        values = (values - low) / (high - low if high > low else 1)
        values = cv2.resize(values[None].astype(np.float32), (num_frames, 1), interpolation=cv2.INTER_LINEAR)[
            0
        ]
        for threshold in settings.thresholds:
            kept = [float(value) if value >= threshold else 0.0 for value in values]
            active = [frame for frame in range(num_frames) if kept[frame] > 0]
            if active == [0]:
                continue
            for first in active:
                if first - 1 in active:
                    continue
                last = first
                while last + 1 in active:
                    last += 1
                length = last - first + 1
                left = max(0, int(first - settings.outer_ratio * length))
                right = min(num_frames, int(last + settings.outer_ratio * length))
                around = [kept[frame] for frame in [*range(left, first), *range(last + 1, right)]]
                score = np.mean(kept[first : last + 1]) - (np.mean(around) if around else 0)
                rows.append(
                    [label, first, last + 1, score + settings.probability_weight * probabilities[label]]
                )
    return np.array(rows).reshape(-1, 4)


@pytest.mark.parametrize("name", VIDEOS)
def test_candidates_are_the_published_ones_in_their_order(name):
    case = GoldenCase.load(f"ecm/{name}")
    segments_frame, classes, scores = localize(
        golden.golden_config(case), golden.golden_arrays(case), case.info["hyper_parameters"]["frame_num"]
    )
    expected = case.arrays["proposals_before_nms"]
    assert len(segments_frame) == case.info["counts"]["proposals_before_nms"]
    np.testing.assert_array_equal(classes, expected[:, 0])
    np.testing.assert_allclose(golden.seconds_of(case, segments_frame), expected[:, 2:], rtol=0, atol=1e-9)
    np.testing.assert_allclose(scores, expected[:, 1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", VIDEOS)
def test_detections_are_the_published_ones_in_their_order(name):
    case = GoldenCase.load(f"ecm/{name}")
    detections = golden.detect(case, golden.golden_config(case), golden.golden_arrays(case))
    expected = case.arrays["detections"]
    assert len(detections) == case.info["counts"]["detections"]
    np.testing.assert_array_equal(detections[:, 0], expected[:, 0])
    np.testing.assert_allclose(detections[:, 1:3], expected[:, 1:3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(detections[:, 3], expected[:, 3], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", VIDEOS)
def test_likely_classes_are_normalised_as_published(name):
    case = GoldenCase.load(f"ecm/{name}")
    arrays = golden.golden_arrays(case)
    likely = np.flatnonzero(arrays["probabilities"] >= case.info["hyper_parameters"]["cls_score_th"])
    np.testing.assert_array_equal(likely, case.arrays["confident_classes"])
    np.testing.assert_array_equal(minmax_normalise(arrays["cas"])[:, likely].T, case.arrays["cas_norm"])


def test_normalising_a_batch_as_published():
    case = GoldenCase.load("ecm/minmax_norm")
    normalised = minmax_normalise(case.arrays["cas"].swapaxes(1, 2))
    np.testing.assert_allclose(normalised.swapaxes(1, 2), case.arrays["normalised"], **case.info["tolerance"])


def test_normalising_by_hand():
    cas = np.array([[2.0, -1.0, -4.0, 3.0], [4.0, 4.0, -2.0, 3.0], [3.0, 1.0, -3.0, 3.0]])  # (T, K)
    expected = [[0.0, -0.25, -4.0, 0.0], [1.0, 1.0, -2.0, 0.0], [0.5, 0.25, -3.0, 0.0]]
    np.testing.assert_array_equal(minmax_normalise(cas), expected)


def test_runs_by_hand():
    active = np.array(
        [
            [0, 1, 1, 0, 0, 1],
            [1, 1, 1, 1, 1, 1],
            [0, 0, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0],  # active at frame 0 alone: skipped
            [1, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 0, 1],
            [1, 1, 0, 0, 0, 0],
        ],
        bool,
    )
    expected = [(0, 1, 3), (0, 5, 6), (1, 0, 6), (4, 0, 1), (4, 3, 4), (5, 5, 6), (6, 0, 2)]
    assert list(zip(*(column.tolist() for column in group_runs(active)), strict=True)) == expected


def test_runs_are_where_the_sequence_is_active():
    active = np.random.default_rng(0).random((40, 25)) < 0.6
    rows, starts, ends = group_runs(active)
    covered = np.zeros_like(active, int)
    for row, start, end in zip(rows, starts, ends, strict=True):
        covered[row, start:end] += 1
        assert start == 0 or not active[row, start - 1]
        assert end == 25 or not active[row, end]
    np.testing.assert_array_equal(covered, active)


def test_no_sequences_have_no_runs():
    assert [len(column) for column in group_runs(np.zeros((0, 5), bool))] == [0, 0, 0]
    assert [len(column) for column in group_runs(np.ones((1, 1), bool))] == [0, 0, 0]


def test_inner_minus_outer_by_hand():
    sequence = np.array([[0.5, 0.0, 0.0, 0.0, 0.8, 0.4, 0.9, 0.7, 0.0, 0.25, 0.0, 0.5]])
    # Frames 4 to 7 with ratio 0.5 reach to frames 2 and 9, of which 9 does not count: frames 2, 3 and 8, all
    # 0.
    assert inner_minus_outer(sequence, [0], np.array([4]), np.array([8]), 0.5) == pytest.approx(0.7)
    # With ratio 0.75 they reach to 1 and 10: frames 1, 2, 3, 8 and 9.
    assert inner_minus_outer(sequence, [0], np.array([4]), np.array([8]), 0.75) == pytest.approx(
        0.7 - 0.25 / 5
    )
    # With ratio 10 they reach beyond both ends: all other frames.
    assert inner_minus_outer(sequence, [0], np.array([4]), np.array([8]), 10) == pytest.approx(0.7 - 1.25 / 8)
    # A run of one frame: 9 - 0.4 rounds down to 8, 9 + 0.4 to 9, which leaves nothing on the right.
    assert inner_minus_outer(sequence, [0], np.array([9]), np.array([10]), 0.4) == pytest.approx(0.25)
    # Nothing around: the whole sequence, or no reach.
    assert inner_minus_outer(np.ones((1, 6)), [0], np.array([0]), np.array([6]), 0.4) == pytest.approx(1)
    assert inner_minus_outer(sequence, [0], np.array([4]), np.array([8]), 0.0) == pytest.approx(0.7)


@pytest.mark.parametrize("num_frames", [9, 30, 83])
@pytest.mark.parametrize("seed", range(6))
def test_same_as_one_frame_at_a_time(seed, num_frames):
    arrays = random_arrays(seed)
    settings = make_settings(thresholds=(0.0, 0.2, 0.45, 0.9), outer_ratio=(0.4, 0.25, 1.0)[seed % 3])
    segments_frame, classes, scores = published_runs(settings, 0.1, **arrays, num_frames=num_frames)
    expected = plain_runs(settings, 0.1, **arrays, num_frames=num_frames)
    assert len(expected) > 3
    np.testing.assert_allclose(
        np.column_stack([classes, segments_frame, scores]), expected, rtol=0, atol=1e-6
    )


def test_runs_of_all_thresholds_by_hand():
    # (T, K)
    cas = np.array([[0, 2, 4, 2, 0, 1, 0], [0, -1, -1, 0, 0, 0, 0], [9, 0, 9, 0, 9, 0, 9]], np.float32).T
    arrays = {"cas": cas, "probabilities": np.array([0.5, 0.3, 0.1], np.float32)}
    segments_frame, classes, scores = published_runs(
        make_settings(thresholds=(0.25, 0.5)), 0.2, **arrays, num_frames=7
    )
    # Normalised, class 0 is 0, 0.5, 1, 0.5, 0, 0.25, 0, and what is at the threshold belongs to the run.
    # Class 1 is never active.
    # Three frames reach one and a half: to frame 0 on the left, where the sequence is 0, and to frame 4,
    # which does not count.
    np.testing.assert_array_equal(segments_frame, [[1, 4], [5, 6], [1, 4]])
    np.testing.assert_array_equal(classes, [0, 0, 0])
    np.testing.assert_allclose(scores, [2 / 3 + 0.125, 0.25 + 0.125, 2 / 3 + 0.125])


def test_shapes_and_range():
    for seed in range(4):
        segments_frame, classes, scores = published_runs(
            make_settings(), 0.0, **random_arrays(seed), num_frames=50
        )
        assert segments_frame.shape == (len(scores), 2) and classes.shape == scores.shape
        assert segments_frame.dtype == np.float64 and classes.dtype == np.int64
        assert (segments_frame[:, 0] >= 0).all() and (segments_frame[:, 1] <= 50).all()
        assert (np.diff(segments_frame) >= 1).all()


def test_no_likely_class_or_no_run_is_no_segment():
    arrays = random_arrays(0)
    unlikely = published_runs(make_settings(), 1.1, **arrays, num_frames=50)
    never_active = published_runs(
        make_settings(), 0.2, np.full((30, 5), -1.0, np.float32), arrays["probabilities"], 50
    )
    for segments_frame, classes, scores in (unlikely, never_active):
        assert segments_frame.shape == (0, 2) and classes.shape == scores.shape == (0,)


def test_a_class_at_the_least_probability_is_likely():
    probabilities = np.array([0.25, 0.125, 0.5, 0.0625, 0.0625], np.float32)
    _, classes, _ = published_runs(make_settings(), 0.25, random_arrays(1)["cas"], probabilities, 50)
    assert set(classes.tolist()) == {0, 2}


def test_classes_do_not_see_each_other_and_their_scale_is_nothing():
    settings, arrays, order = make_settings(), random_arrays(2), np.array([3, 0, 4, 1, 2])
    permuted = {"cas": 4 * arrays["cas"][:, order], "probabilities": arrays["probabilities"][order]}
    segments_frame, classes, scores = published_runs(settings, 0.0, **arrays, num_frames=64)
    permuted_segments, permuted_classes, permuted_scores = published_runs(
        settings, 0.0, **permuted, num_frames=64
    )
    for label in range(5):
        ours, theirs = classes == order[label], permuted_classes == label
        np.testing.assert_array_equal(segments_frame[ours], permuted_segments[theirs])
        np.testing.assert_allclose(scores[ours], permuted_scores[theirs])


def test_activations_of_ecm_are_logits_or_a_softmax_over_classes():
    config = ecm_config()
    cas = np.log([[[1.0, 3.0], [1.0, 1.0]]]).astype(np.float32)
    outputs = Outputs(cas=cas, recording_logits=cas[:, 0])
    np.testing.assert_array_equal(decode(config, outputs)["cas"], cas)
    config.readings = ("decode.activations=softmax",)
    np.testing.assert_allclose(decode(config, outputs)["cas"], [[[0.25, 0.75], [0.5, 0.5]]], rtol=1e-6)
    np.testing.assert_allclose(decode(config, outputs)["probabilities"], [[0.25, 0.75]], rtol=1e-6)


def runs_of(probabilities, num_frames, max_classes=10, **fields):
    settings = make_settings(min_probability=0.1, probability_weight=0.0, **fields)
    return likely_runs(settings, max_classes, probabilities, num_frames)


def test_likely_runs_by_hand():
    probabilities = np.array([[0, 0, 0, 1, 1, 1, 0, 0, 0, 0], [0.05] * 10], np.float32).T
    segments_frame, classes, scores = runs_of(probabilities, 80)
    assert classes.tolist() == [0, 0]  # one run of each threshold; of the second class none
    # Between the middles of two cells, at points 20 and 28, values go up on 8 points: 1/16, 3/16, …
    np.testing.assert_array_equal(segments_frame, [[21, 51], [24, 48]])
    assert scores[0] < scores[1] < 1


def test_seconds_do_not_depend_on_the_rate_of_the_samples():
    """Ten times as many frames a cell as points: runs are those of the points, in frames."""
    cas = 1 / (1 + np.exp(-random_arrays(3)["cas"]))
    coarse, fine = (runs_of(cas, frames) for frames in (30 * 8, 30 * 80))
    assert len(coarse[0]) > 5
    np.testing.assert_allclose(fine[0] / 80, coarse[0] / 8)
    np.testing.assert_array_equal(fine[1], coarse[1])
    np.testing.assert_array_equal(fine[2], coarse[2])
    few, classes, _ = runs_of(cas, 30)  # no finer than frames
    np.testing.assert_array_equal(few, few.round())
    assert {*classes.tolist()} == {*coarse[1].tolist()}


def test_a_day_of_a_sensor_takes_little_memory():
    cas = np.random.default_rng(0).random((20_000, 2), np.float32)
    tracemalloc.start()
    runs_of(cas, 24 * 3600 * 100, thresholds=(0.999,))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 100 * cas.nbytes  # one class of 8,640,000 frames by itself is 216 times that


def test_of_equally_likely_classes_the_first_are_taken():
    cas = np.tile(np.array([[0.2], [0.9], [0.9], [0.9], [0.2]], np.float32), (1, 5))
    cas[:, 4] = 1.0
    _, classes, _ = runs_of(cas, 40, max_classes=3)
    assert {*classes.tolist()} == {0, 1, 4}
