"""ActionFormer behind its network: candidates, suppression and voting, as published and by hand."""

import functools
import types

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from tal_jax.data.recording_scores import label_recordings
from tal_jax.data.timeline import Timeline
from tal_jax.data.windows import Decoded
from tal_jax.errors import DataError
from tal_jax.ops.nms import hard_nms, vote
from tal_jax.systems.actionformer.decode import decode, suppress
from tal_jax.systems.candidates import Detections, detections
from tests.golden_case import GoldenCase

GOLDEN = GoldenCase.load("actionformer/postprocess")
HYPER, TOLERANCES = GOLDEN.info["hyper"], GOLDEN.info["tolerances"]
NETWORKS, LISTS = HYPER["sub_cases"], HYPER["lists"]


def config_of(readings=(), **fields):
    """A config of what follows the network: the published THUMOS14 settings but for `fields`."""
    published = dict(min_score=0.001, max_per_level=2000, min_frames=0.05, nms_sigma=0.5, nms_floor=0.001)
    published |= dict(per_class=True, voting_tiou=0.0, max_per_recording=200)
    return ml_collections.ConfigDict({"readings": readings, "decode": published | fields})


def config_as(test):
    """The config of a sub-case's `test` settings."""
    return config_of(
        min_score=test["pre_nms_thresh"],
        max_per_level=test["pre_nms_topk"],
        min_frames=test["duration_thresh"],
        nms_sigma=test["nms_sigma"],
        nms_floor=test["min_score"],
        per_class=test["multiclass_nms"],
        # published voting is not for classes that are suppressed apart
        voting_tiou=0.0 if test["multiclass_nms"] else test["voting_thresh"],
        max_per_recording=test["max_seg_num"],
    )


def outputs_of(logits, distances, mask, sizes, auxiliary_logits=None):
    """model.Outputs of levels of these sizes, whose strides are 1, 2, 4, …"""
    strides = [np.full(size, 2.0**level, np.float32) for level, size in enumerate(sizes)]
    points = [np.arange(size, dtype=np.float32) * stride + 0.5 for size, stride in zip(sizes, strides)]
    return types.SimpleNamespace(
        logits=jnp.asarray(logits),
        distances=jnp.asarray(distances),
        mask=jnp.asarray(mask),
        points=np.concatenate(points),
        strides=np.concatenate(strides),
        auxiliary_logits=auxiliary_logits,
    )


@functools.cache
def golden_candidates(name):
    """What `decode` makes of a sub-case's network outputs: a Decoded window without padding rows."""
    arrays = GOLDEN.input(f"{name}_logits") - 2, GOLDEN.input(f"{name}_offsets"), GOLDEN.input(f"{name}_mask")
    config, sizes = config_as(NETWORKS[name]["test"]), NETWORKS[name]["Ts"]
    batch = [np.stack([array, array]) for array in arrays]  # two equal windows
    found = jax.jit(lambda *batch: decode(config, outputs_of(*batch, sizes)))(*batch)
    jax.tree.map(lambda array: np.testing.assert_array_equal(*array), found)
    return Decoded(0, sizes[0], {key: np.asarray(array[0]) for key, array in found.items()})


def suppressed(test, found):
    """Detections by falling score, by the sub-case's method."""
    config = config_as(test)
    if test["nms_method"] == "soft":
        return suppress(config, {"it": found})["it"]
    # No published config suppresses greedily, so that it is no setting: its parts are.
    above = found.take(found.scores > test["min_score"])
    groups = above.classes if test["multiclass_nms"] else None
    kept = above.take(hard_nms(above.segments_sec, above.scores, test["iou_threshold"], groups=groups))
    best = kept.take(np.argsort(-kept.scores, kind="stable")[: test["max_seg_num"]])
    if test["multiclass_nms"] or not test["voting_thresh"]:
        return best
    moved = vote(best.segments_sec, found.segments_sec, found.scores, test["voting_thresh"])
    return best._replace(segments_sec=moved)


def assert_close(found, segments, scores, classes, atol):
    """The same detections in the same order; those of nearly the same score may change places."""
    assert len(found.scores) == len(scores)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-6)
    rows, expected = (np.column_stack(columns) for columns in (found, (segments, classes, scores)))
    tied = np.cumsum(np.diff(scores, prepend=scores[:1]) < -1e-6)  # by number of the run of equal scores
    in_order = [np.lexsort((*table[:, :3].T.round(2), tied)) for table in (rows, expected)]
    rows, expected = rows[in_order[0]], expected[in_order[1]]
    np.testing.assert_array_equal(rows[:, 2], expected[:, 2])
    np.testing.assert_allclose(rows[:, :2], expected[:, :2], rtol=0, atol=atol)


@pytest.mark.parametrize("name", NETWORKS)
def test_candidates_of_a_network_are_the_published_ones(name):
    found = golden_candidates(name)
    arrays, expected = found.arrays, GOLDEN.arrays[f"{name}_candidates"]
    kept = arrays["scores"] > 0
    assert kept.sum() == NETWORKS[name]["counts"]["candidates"] == len(expected)
    rows = np.column_stack([arrays["segments"][kept] - 0.5, arrays["scores"][kept], arrays["classes"][kept]])
    expected = np.column_stack([expected, GOLDEN.arrays[f"{name}_candidate_labels"]])
    rows, expected = (table[np.lexsort(table.T[[1, 0, 3, 2]])] for table in (rows, expected))
    close = TOLERANCES["candidates"]
    np.testing.assert_array_equal(rows[:, 3], expected[:, 3])
    np.testing.assert_allclose(rows[:, :2], expected[:, :2], rtol=0, atol=close["segments_atol"])
    np.testing.assert_allclose(rows[:, 2], expected[:, 2], rtol=close["scores_rtol"])


@pytest.mark.parametrize("name", NETWORKS)
def test_detections_in_seconds_are_the_published_ones(name):
    meta, test = NETWORKS[name]["meta"], NETWORKS[name]["test"]
    timeline = Timeline(meta["fps"], meta["feat_stride"], meta["feat_num_frames"])
    found = suppressed(test, detections(config_as(test), [golden_candidates(name)], timeline))
    found = found._replace(segments_sec=np.clip(found.segments_sec, 0, meta["duration"]))
    expected = [GOLDEN.arrays[f"{name}_{what}"] for what in ("segments", "scores", "labels")]
    assert len(found.scores) == NETWORKS[name]["counts"]["detections"]
    assert_close(found, *expected, atol=1e-3)


@pytest.mark.parametrize("name", LISTS)
def test_suppression_of_lists_is_the_published_one(name):
    settings = LISTS[name]
    test = {"pre_nms_thresh": 0.0, "pre_nms_topk": 1, "duration_thresh": 0.0}
    test |= {"nms_method": "soft" if settings["use_soft_nms"] else "hard", "nms_sigma": settings["sigma"]}
    test |= {"multiclass_nms": settings["multiclass"], **settings}
    parts = (GOLDEN.input(f"nms_{name}_{what}") for what in ("segments", "labels", "scores"))
    found = suppressed(test, Detections(*parts))
    expected = GOLDEN.arrays[f"nms_{name}_out"]
    assert_close(found, expected[:, :2], expected[:, 2], GOLDEN.arrays[f"nms_{name}_out_labels"], atol=1e-4)


def test_fusion_with_class_scores_of_whole_recordings_is_the_published_one():
    counts, settings = GOLDEN.input("fusion_counts"), HYPER["fusion"]
    start, end, score = (GOLDEN.input(f"fusion_{what}") for what in ("start", "end", "score"))
    probabilities, names = GOLDEN.input("fusion_class_scores"), "abc"
    results, best, begin = {}, {}, 0
    for name, count, row in zip(names, counts.tolist(), probabilities):
        rows = np.arange(begin, begin + count)
        rows = rows[np.argsort(-score[rows])][: settings["num_pred"]]
        segments = np.column_stack([start, end])[rows].tolist()
        results[name] = [{"segment": s, "score": float(p)} for s, p in zip(segments, score[rows])]
        best[name] = [(k, float(row[k])) for k in np.argsort(-row)[: settings["topk"]]]
        begin += count
    found = label_recordings(results, best, power=0.5)
    rows = [(*d["segment"], d["score"], d["label"], v) for v, name in enumerate(names) for d in found[name]]
    expected = [GOLDEN.arrays[f"fusion_out{what}"] for what in ("", "_labels", "_video")]
    np.testing.assert_allclose(rows, np.column_stack(expected), **TOLERANCES["fusion"])


def test_scores_by_hand():
    """Two windows of one level: the second point is not valid, and of the first one a class is likely."""
    probabilities = np.array([[0.2, 0.8], [0.9, 0.9]])
    arrays = np.log(probabilities / (1 - probabilities))[None], np.ones((1, 2, 2)), np.array([[True, False]])
    auxiliary = jnp.zeros((1, 2))  # c = 0.5
    plain = decode(config_of(), outputs_of(*arrays, [2]))
    np.testing.assert_allclose(plain["scores"], [[0.2, 0.8, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(plain["segments"][0, 0], [-0.5, 1.5])
    assert plain["classes"].tolist() == [[0, 1, 0, 1]]
    for value, scores in (("times", [0.1, 0.4]), ("sqrt", [0.1**0.5, 0.4**0.5]), ("aux_only", [0, 0.5])):
        config = config_of((f"decode.final_score={value}",))
        found = decode(config, outputs_of(*arrays, [2], auxiliary))
        np.testing.assert_allclose(found["scores"], [[*scores, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(decode(config_of(), outputs_of(*arrays, [2], auxiliary))["scores"][0, 0], 0.1)
    with pytest.raises(DataError, match="decode.final_score=half'; it may have decode.final_score=times or"):
        decode(config_of(("decode.final_score=half",)), outputs_of(*arrays, [2], auxiliary))


def test_every_level_has_its_best_candidates_and_short_ones_take_their_place():
    logits = np.array([[3.0, 2, 1, 0, -1, -2]])[..., None]
    distances = np.full((1, 6, 2), 1.0)
    distances[0, 1] = 0.02  # the second best of the first level lasts 0.04 frames
    found = decode(config_of(max_per_level=2), outputs_of(logits, distances, np.ones((1, 6), bool), [4, 2]))
    kept = np.asarray(found["scores"][0]) > 0
    np.testing.assert_allclose(found["segments"][0][kept], [[-0.5, 1.5], [-1.5, 2.5], [0.5, 4.5]])


def suppress_one(config, segments, scores):
    found = Detections(np.array(segments, float).reshape(-1, 2), np.zeros(len(scores), int), np.array(scores))
    return suppress(config, {"it": found})["it"]


def test_voting_by_hand():
    config = config_of(per_class=False, voting_tiou=0.5)
    lone = suppress_one(config, [[3, 5]], [0.4])
    np.testing.assert_allclose([*lone.segments_sec[0], *lone.scores], [3, 5, 0.4], rtol=1e-6)
    nothing = suppress_one(config, [], [])
    assert nothing.segments_sec.shape == (0, 2) and nothing.scores.shape == (0,)
    same = suppress_one(config, [[3, 5], [3, 5]], [0.4, 0.8])
    np.testing.assert_allclose(same.segments_sec, [[3, 5], [3, 5]])
    np.testing.assert_allclose(same.scores, [0.8, 0.4 * np.exp(-2)], rtol=1e-6)
    # [0, 4] and [0, 2] share a half of their union: weights 0.8 and 0.4 * 0.5 of the first one's mean
    moved = suppress_one(config, [[0, 4], [0, 2], [9, 10]], [0.8, 0.4, 0.1])
    np.testing.assert_allclose(moved.segments_sec, [[0, 3.6], [0, 3], [9, 10]])
    config.decode.voting_tiou = 0.51
    still = suppress_one(config, [[0, 4], [0, 2]], [0.8, 0.4])
    np.testing.assert_allclose(still.segments_sec, [[0, 4], [0, 2]])
    config.decode.update(voting_tiou=0.5, max_per_recording=1)
    assert suppress_one(config, [[0, 4], [0, 2]], [0.8, 0.4]).segments_sec.tolist() == [[0, 3.6]]
    config.decode.update(per_class=True, max_per_recording=9)
    apart = suppress(
        config, {"it": Detections(*map(np.array, ([[0.0, 4], [0, 2], [0, 2]], [0, 1, 0], [0.8, 0.6, 0.4])))}
    )
    np.testing.assert_allclose(apart["it"].segments_sec, [[0, 3.6], [0, 2], [0, 3]])
