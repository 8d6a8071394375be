"""From the outputs of P-GCN to detections: the golden case and its mAP, and each step by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.features import data_config
from tal_jax.data.windows import Decoded
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.systems.pgcn import decode
from tal_jax.systems.pgcn.config import pgcn_config
from tests.golden import recipe
from tests.golden_case import GoldenCase
from tests.systems.pgcn_case import detect, golden_videos, scores_of

TIOUS = tuple(round(0.1 * i, 1) for i in range(1, 10))
CLASSES = tuple(f"class {k}" for k in range(20))


def golden_scores(stream, bias, i, labels_and_tious):
    """Scores of video i as the recipe of the case makes them."""
    n = len(labels_and_tious)
    activity = 1.5 * recipe.array(f"{stream}_act{i}", [n, 21], 0)
    completeness = 0.7 * recipe.array(f"{stream}_comp{i}", [n, 20], 0)
    for j, (label, tiou) in enumerate(labels_and_tious):
        if label > 0:
            activity[j, int(label)] += bias * 4 * tiou
            completeness[j, int(label) - 1] += 1.5 * tiou
    return scores_of(activity, completeness, 0.15 * recipe.array(f"{stream}_reg{i}", [n, 20, 2], 0))


def fuse(first, second, weights):
    """The scores of two streams as one."""
    return {name: decode.fuse([first[name], second[name]], weights) for name in first}


@pytest.mark.parametrize("kind", ["fused", "single"])
def test_golden_detections_and_map(kind):
    arrays, proposals = GoldenCase.load("pgcn/postprocess").arrays, GoldenCase.load("pgcn/proposals").arrays
    config, rows, detections = pgcn_config(), [], {}
    if kind == "single":
        config.decode.max_per_window = 150
    for i, (video, num_frames) in enumerate(golden_videos()):
        segments = video.segments / num_frames
        np.testing.assert_allclose(segments, proposals[f"v{i}_test_rel"], rtol=0, atol=1e-12)
        flow = golden_scores("flow", 1.0, i, arrays[f"prop_v{i}"])
        scores, num_streams = flow, 1
        if kind == "fused":
            rgb = golden_scores("rgb", 0.7, i, arrays[f"prop_v{i}"])
            scores, num_streams = fuse(rgb, flow, config.decode.fusion_weights), 2
        if i == 0:
            np.testing.assert_allclose(decode.class_scores(scores), arrays[f"{kind}_combined_v0"], rtol=1e-5)
        found = detect(config, scores, segments, num_streams)
        rows.append(
            np.column_stack([np.full(len(found.classes), i), found.classes, found.segments_sec, found.scores])
        )
        detections[f"video {i}"] = [
            {"label": CLASSES[k], "segment": list(segment), "score": score}
            for segment, k, score in zip(found.segments_sec, found.classes, found.scores, strict=True)
        ]
    rows = np.concatenate(rows)
    np.testing.assert_allclose(rows, arrays[f"{kind}_detections"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(rows[:, :2], arrays[f"{kind}_detections"][:, :2])

    result = evaluate_detections(
        golden_annotations(proposals["gt"]), detections, subset="test", tious=TIOUS, protocol="activitynet"
    )
    found_ap = [
        [result["ap"][CLASSES[k]][f"{tiou:g}"] for tiou in TIOUS] for k in arrays[f"{kind}_gt_classes"]
    ]
    np.testing.assert_allclose(np.array(found_ap) / 100, arrays[f"{kind}_ap"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(
        [result["map"][f"{tiou:g}"] / 100 for tiou in TIOUS], arrays[f"{kind}_map"], rtol=0, atol=1e-6
    )


def golden_annotations(truths):
    """Annotations whose seconds are shares of a video."""
    recordings = {}
    for i in range(3):
        own = truths[truths[:, 0] == i]
        recordings[f"video {i}"] = Recording(
            f"video {i}", "test", 1.0, own[:, 2:], own[:, 1].astype(np.int32)
        )
    return Annotations(CLASSES, recordings)


def some_scores(count=3, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    return scores_of(
        rng.standard_normal((count, classes + 1)),
        rng.standard_normal((count, classes)),
        np.zeros((count, classes, 2)),
    )


def test_scores_by_hand():
    scores = scores_of(np.log([[2.0, 1, 1]]), np.log([[3.0, 0.5]]), np.zeros((1, 2, 2)))
    np.testing.assert_allclose(decode.class_scores(scores), [[0.75, 0.125]])
    # c = 0.2
    helped = scores_of(
        scores["activity_logits"], scores["completeness_logits"], scores["offsets"], np.log([0.25])
    )
    np.testing.assert_allclose(decode.class_scores(helped), [[0.15, 0.025]])
    np.testing.assert_allclose(decode.class_scores(helped, "replace_completeness"), [[0.05, 0.05]])
    np.testing.assert_allclose(decode.class_scores(helped, "aux_only"), [[0.2, 0.2]])


def test_fusion_is_of_logits_by_weight():
    first, second = some_scores(seed=0), some_scores(seed=1)
    fused = fuse(first, second, (2, 3))
    np.testing.assert_allclose(
        fused["activity_logits"], 0.4 * first["activity_logits"] + 0.6 * second["activity_logits"]
    )
    np.testing.assert_allclose(
        fused["completeness_logits"], 0.4 * first["completeness_logits"] + 0.6 * second["completeness_logits"]
    )
    assert "auxiliary_logits" not in fused
    with_auxiliary = [scores_of(*(first["activity_logits"],) * 3, np.full(3, value)) for value in (1.0, 2.0)]
    np.testing.assert_allclose(fuse(*with_auxiliary, (1, 3))["auxiliary_logits"], 1.75)


def test_best_pairs_by_hand():
    values = np.array([[0.1, 0.9], [0.5, 0.2], [0.9, 0.3]])
    for count, pairs in ((1, [[0, 1]]), (2, [[0, 1], [2, 0]]), (3, [[0, 1], [1, 0], [2, 0]])):
        np.testing.assert_array_equal(np.argwhere(decode.best_pairs(values, count)), pairs)
    assert decode.best_pairs(np.zeros((0, 2)), 3).shape == (0, 2)


def test_the_auxiliary_score_alone_goes_to_the_most_probable_class():
    logits = np.array([[9.0, 1, 2, 0], [0, 3, 1, 2], [0, 1, 0, 4]])
    auxiliary = np.log([0.25, 1.0, 4.0])  # c = 0.2, 0.5, 0.8
    scores = scores_of(logits, np.array([[5.0, -5, 5]] * 3), np.zeros((3, 3, 2)), auxiliary)
    segments, config = np.array([[0.0, 0.1], [0.2, 0.3], [0.4, 0.5]]), pgcn_config("pgcn_dw")
    config.readings = ("decode.final_score=aux_only",)
    found = detect(config, scores, segments)
    np.testing.assert_array_equal(found.classes, [0, 1, 2])
    np.testing.assert_allclose(found.scores, [0.5, 0.2, 0.8])
    np.testing.assert_allclose(found.segments_sec, segments[[1, 0, 2]], atol=1e-12)
    config.decode.max_per_window = 1
    assert detect(config, scores, segments).classes.tolist() == [2]
    # With classes of the whole video c is the score of each of them.
    config.readings += ("decode.recording_probability=True",)
    found = detect(config, scores, segments, recording_scores=np.array([0.6, 0.1, 0.3]))
    np.testing.assert_array_equal(found.classes, [0, 0, 0, 2, 2, 2])
    np.testing.assert_allclose(found.scores, np.outer([0.6, 0.3], [0.8, 0.5, 0.2]).ravel())
    without_head = scores_of(logits, scores["completeness_logits"], scores["offsets"])
    assert len(detect(pgcn_config(), without_head, segments).scores) == 9


def test_regression_by_hand():
    moved = decode.regress(
        [[0.4, 0.6], [0.4, 0.6], [0.0, 0.2], [0.4, 0.6]],
        np.array([[0, 0], [0.5, np.log(2)], [0, 9], [0, 1e4]]),
    )
    np.testing.assert_allclose(moved, [[0.4, 0.6], [0.4, 0.8], [0, 1], [0, 1]])


def fixed(scores_of_class_0, offsets=None):
    """Scores whose scores for class 0 are these, and 0 for class 1; the softmax is 1/2 each of class
    0 and background.
    """
    count = len(scores_of_class_0)
    logits = np.tile([0.0, 0.0, -1e9], (count, 1))
    completeness = np.stack([np.log(2 * np.array(scores_of_class_0)), np.zeros(count)], axis=1)
    return scores_of(logits, completeness, np.zeros((count, 2, 2)) if offsets is None else offsets)


def test_suppression_comes_before_regression():
    config = pgcn_config()
    config.decode.max_per_window = 3
    offsets = np.zeros((3, 2, 2))
    offsets[2] = [-1.0, 0]  # moves the third segment onto the first
    segments = np.array([[0.1, 0.2], [0.11, 0.21], [0.2, 0.3]])
    found = detect(config, fixed([0.9, 0.8, 0.7], offsets), segments)
    np.testing.assert_allclose(found.segments_sec, [[0.1, 0.2], [0.1, 0.2]], atol=1e-12)
    np.testing.assert_allclose(found.scores, [0.9, 0.7])
    np.testing.assert_array_equal(found.classes, [0, 0])


def test_a_segment_at_the_threshold_stays():
    config = pgcn_config()
    config.decode.update(max_per_window=2, nms_tiou=0.5, fused_nms_tiou=0.25)
    segments = np.array([[0.0, 0.5], [0.25, 0.5]])  # tIoU 0.5 exactly
    assert len(detect(config, fixed([0.9, 0.8]), segments).scores) == 2
    assert len(detect(config, fixed([0.9, 0.8]), segments, num_streams=2).scores) == 1


def test_classes_of_the_recording():
    config, scores = pgcn_config(), some_scores(4, 3)
    config.decode.max_per_window = 1  # does not count here
    segments = np.array([[0.0, 0.1], [0.2, 0.3], [0.4, 0.5], [0.6, 0.7]])
    values = decode.class_scores(scores)
    found = detect(config, scores, segments, recording_scores=np.array([0.1, 0.5, 0.4]))
    np.testing.assert_array_equal(found.classes, [1, 1, 1, 1, 2, 2, 2, 2])
    np.testing.assert_allclose(found.scores[:4], np.sort(values[:, 1])[::-1])
    config.readings = ("decode.recording_probability=True",)
    scaled = detect(config, scores, segments, recording_scores=np.array([0.1, 0.5, 0.4]))
    np.testing.assert_allclose(scaled.scores[4:], 0.4 * found.scores[4:])
    config.decode.recording_classes = 1
    assert set(detect(config, scores, segments, recording_scores=np.array([0.1, 0.5, 0.4])).classes) == {1}


def test_the_class_scores_of_the_recording_are_used():
    config, scores = pgcn_config(), some_scores(2, 3)
    arrays = scores | {"shares": np.array([[0.0, 0.1], [0.2, 0.3]]), "duration_sec": 50.0, "num_streams": 1}
    assert len(decode.detections(config, [Decoded(0, 1, arrays)], None)[1]) == 6
    segments_sec, classes, _ = decode.detections(
        config, [Decoded(0, 1, arrays | {"recording_scores": np.array([0.1, 0.5, 0.4])})], None
    )
    np.testing.assert_array_equal(classes, [1, 1, 2, 2])
    np.testing.assert_allclose(np.sort(segments_sec[:2], axis=0), [[0, 5], [10, 15]], atol=1e-9)


@pytest.mark.parametrize("stream, shares", [("rgb", (0.4, 0.6)), ("flow", (0.6, 0.4)), ("", (0.4, 0.6))])
def test_rgb_and_flow_keep_their_weights_in_any_order(stream, shares):
    config = pgcn_config()
    config.data = data_config(stream=stream)
    first, second = some_scores(seed=0), some_scores(seed=1)
    outputs = [SimpleNamespace(**dict.fromkeys(decode.SCORES) | scores) for scores in (first, second)]
    fused = decode.decode(config, *outputs)
    np.testing.assert_allclose(fused["offsets"], shares[0] * first["offsets"] + shares[1] * second["offsets"])
    np.testing.assert_allclose(
        fused["activity_logits"], shares[0] * first["activity_logits"] + shares[1] * second["activity_logits"]
    )
    assert decode.decode(config, outputs[0])["activity_logits"] is first["activity_logits"]


def test_a_permutation_of_proposals_changes_nothing():
    rng, scores = np.random.default_rng(0), some_scores(20, 3)
    segments = np.sort(rng.random((20, 2)), axis=1)
    order = rng.permutation(20)
    permuted = {name: array[order] for name, array in scores.items()}
    for first, second in zip(
        detect(pgcn_config(), scores, segments),
        detect(pgcn_config(), permuted, segments[order]),
        strict=True,
    ):
        np.testing.assert_allclose(first, second)


def test_no_proposal_and_one():
    for count in (0, 1):
        found = detect(pgcn_config(), some_scores(count), np.tile([0.2, 0.4], (count, 1)))
        assert (
            found.segments_sec.shape == (2 * count, 2)
            and len(found.scores) == len(found.classes) == 2 * count
        )
