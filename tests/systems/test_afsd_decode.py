"""From network outputs to detections: AFSD's decoding, stream fusion and suppression against the published
ones, and by hand.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax import detect
from tal_jax.data import windows
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.features import data_config
from tal_jax.data.recording_scores import best_classes, label_recordings
from tal_jax.data.timeline import Timeline
from tal_jax.errors import DataError
from tal_jax.systems import SYSTEMS, require_valid
from tal_jax.systems.afsd.config import CHOICES, READINGS, RECIPES, afsd_config, reading
from tal_jax.systems.afsd.decode import fuse_streams, of_locations, of_two_streams
from tal_jax.systems.afsd.model import Outputs
from tal_jax.systems.candidates import Detections, best_of_window
from tests.golden_case import GoldenCase

OUTPUTS = dict(
    coarse_distances="loc",
    coarse_logits="conf",
    refined_offsets="prop_loc",
    refined_logits="prop_conf",
    quality_logits="center",
)
THUMOS_CLASSES = (
    "BaseballPitch", "BasketballDunk", "Billiards", "CleanAndJerk", "CliffDiving", "CricketBowling", "CricketShot", "Diving",
    "FrisbeeCatch", "GolfSwing", "HammerThrow", "HighJump", "JavelinThrow", "LongJump", "PoleVault", "Shotput",
    "SoccerPenalty", "TennisSwing", "ThrowDiscus", "VolleyballSpiking",
)  # fmt: skip
OFFSETS = dict(
    video_a=[0], video_b=[0, 44], video_c=[0], video_d=[0, 44], v_aaaaaaaaaaa=[0], v_bbbbbbbbbbb=[0]
)


def make_outputs(window, cells, values, auxiliary_logits=None):
    """Outputs with the predictions `values` at the cells of each level, and nothing else."""
    return Outputs(
        anchors=jnp.concatenate([(jnp.arange(n) + 0.5) * (window / n) for n in cells]),
        auxiliary_logits=auxiliary_logits, frame_feature=None, loc_sides=None, cls_sides=None, level_regions=None,
        frame_regions=None, pyramid=(), **values,
    )  # fmt: skip


def thumos_config():
    config = afsd_config("afsd")
    config.data = data_config()
    config.readings = ("decode.keep_last=False",)
    config.evaluate.batch_size = 2
    return config, [64, 32, 16, 8, 4, 2]


def activitynet_config(floor, min_score):
    config, _ = thumos_config()
    config.window.frames = 768
    config.decode.update(min_score=min_score, nms_sigma=0.85, nms_floor=floor)
    return config, [96, 48, 24, 12, 6, 3]


def golden_recordings(case):
    """Recordings of a case: name -> (number of frames, frames in a second)."""
    frames = {
        e["name"].removesuffix(".rgb"): e["shape"][0]
        for e in case.info["inputs"]
        if e["name"].endswith(".rgb")
    }
    return {
        name: (count, case.info.get("videos", {}).get(name, {}).get("fps", 10.0))
        for name, count in frames.items()
    }


@dataclasses.dataclass
class GoldenNetwork:
    """In place of a network: takes windows whose first feature value says which they are, and gives their
    golden outputs.

    As published, locations in the padding give candidates too: the outputs have no `num_frames`.
    """

    first_values: list
    outputs: dict  # stream -> Outputs of all windows of the case

    def apply(self, _, inputs, num_frames):
        window = jnp.searchsorted(jnp.asarray(self.first_values), inputs[:, 0, 0])
        return {
            stream: outputs.replace(**{key: getattr(outputs, key)[window] for key in OUTPUTS})
            for stream, outputs in self.outputs.items()
        }


def detect_golden(case, config, cells, decode_streams, monkeypatch):
    """`Detector.detect` over the recordings of a case, with the golden outputs in place of a network.

    Returns:
      detections as detect returns them, and what soft-NMS was given and gave: name -> (segments_sec, classes,
      scores).
    """
    recordings = golden_recordings(case)
    # Frame f of recording r has the one feature value 1000 * r + f.
    read = {
        name: 1000.0 * r + np.arange(count)[:, None]
        for r, (name, (count, _)) in enumerate(recordings.items())
    }
    first_values = [read[name][offset, 0] for name in recordings for offset in OFFSETS[name]]
    outputs = {}
    for stream in {
        entry["name"].split(".")[0] for entry in case.info["inputs"] if entry["name"].endswith(".loc")
    }:
        values = {
            ours: jnp.concatenate([case.input(f"{stream}.{i}.{theirs}") for i in range(len(first_values))])
            for ours, theirs in OUTPUTS.items()
        }
        values["quality_logits"] = values["quality_logits"][..., 0]
        outputs[stream] = make_outputs(config.window.frames, cells, values)
    network = GoldenNetwork(first_values, outputs)
    config.system = "golden"
    suppress, seen = SYSTEMS["afsd"].suppress, []

    def watched_suppress(config, candidates):
        seen.extend([candidates, suppress(config, candidates)])
        return seen[1]

    system = dataclasses.replace(
        SYSTEMS["afsd"],
        build=lambda config, num_classes: network,
        decode=lambda config, outputs: best_of_window(config, *decode_streams(config, outputs)),
        suppress=watched_suppress,
    )
    monkeypatch.setitem(SYSTEMS, "golden", system)
    # The published THUMOS code does not clip detections to the recording, so nobody learns here how long it
    # is.
    endless = {
        name: Recording(name, "test", np.inf, np.zeros((0, 2)), np.zeros(0, np.int32)) for name in recordings
    }
    dataset = Dataset(
        annotations=Annotations(THUMOS_CLASSES, endless),
        read=read.get,
        timeline=lambda name: Timeline(recordings[name][1], stride_frames=1, snippet_frames=1),
    )
    detector = detect.Detector([config], len(THUMOS_CLASSES))
    return detector.detect([detect.Stream(config, {}, dataset)], list(recordings)), *seen


def assert_same_detections(case, ours, golden):
    """Two lists of detections: labels and order exactly, times and scores within the tolerances of the case."""
    assert [d["label"] for d in ours] == [d["label"] for d in golden]
    tolerances = case.info["tolerances"]
    for key, what in (("segment", "times"), ("score", "scores")):
        np.testing.assert_allclose([d[key] for d in ours], [d[key] for d in golden], **tolerances[what])


def assert_same_nms_rows(case, pooled, ending):
    """Rows [start s, end s, score], recording by recording and class by class, against nms0_..., nms1_...,
    ...
    """
    calls = [
        (segments_sec[classes == k], scores[classes == k])
        for segments_sec, classes, scores in pooled.values()
        for k in np.unique(classes)
    ]
    assert len(calls) == len(case.info["nms_calls"])
    for i, (segments_sec, scores) in enumerate(calls):
        golden = case.arrays[f"nms{i}_{ending}"]
        assert len(scores) == len(golden)
        np.testing.assert_allclose(
            segments_sec, golden[:, :2], **case.info["tolerances"]["times"], err_msg=f"call {i}"
        )
        np.testing.assert_allclose(
            scores, golden[:, 2], **case.info["tolerances"]["scores"], err_msg=f"call {i}"
        )


def decode_one(config, streams):
    return of_locations(config, streams["rgb"])


def decode_both(config, streams):
    if reading(config, "decode.fusion") == "segments":
        return of_two_streams(config, streams["rgb"], streams["flow"])
    return of_locations(config, fuse_streams(streams["rgb"], streams["flow"]))


@pytest.mark.parametrize(
    "name, decode_streams",
    [
        ("inference_window", decode_one),
        ("video_detections", decode_one),
        ("video_detections_fusion", decode_both),
    ],
)
def test_thumos_detections_are_the_published_ones(name, decode_streams, monkeypatch):
    case = GoldenCase.load(f"afsd/{name}")
    config, cells = thumos_config()
    for recording, (num_frames, _) in golden_recordings(case).items():
        found = windows.window_offsets(num_frames, config.window.frames, config.window.test_stride_frames)
        assert found == OFFSETS[recording]

    results, candidates, kept = detect_golden(case, config, cells, decode_streams, monkeypatch)
    assert_same_nms_rows(case, candidates, "in")
    assert_same_nms_rows(case, kept, "out")
    golden = case.json_file("detections.json.gz")["results"]
    assert results.keys() == golden.keys()
    for recording, detections in results.items():
        assert_same_detections(case, detections, golden[recording])


@pytest.mark.parametrize(
    "name, decode_streams, settings",
    [
        ("anet_detections", decode_one, dict(floor=1e-9, min_score=1e-9)),
        ("anet_detections_fusion", decode_both, dict(floor=1e-18, min_score=0.0)),
    ],
)
def test_activitynet_detections_are_the_published_ones(name, decode_streams, settings, monkeypatch):
    case = GoldenCase.load(f"afsd/{name}")
    config, cells = activitynet_config(**settings)
    config.readings += ("decode.fusion=segments",)
    _, candidates, kept = detect_golden(case, config, cells, decode_streams, monkeypatch)
    assert_same_nms_rows(case, candidates, "in")
    assert_same_nms_rows(case, kept, "out")

    golden = case.json_file("detections.json.gz")["results"]
    assert list(golden) == [recording.removeprefix("v_") for recording in kept]
    for recording, (segments_sec, _, scores) in kept.items():
        video = case.info["videos"][recording]
        truth = Recording(recording, "validation", video["duration"], np.zeros((0, 2)), np.zeros(0, np.int32))
        dataset = Dataset(
            Annotations(tuple(case.info["class_names"]), {recording: truth}), read=None, timeline=None
        )
        key = recording.removeprefix("v_")
        detections = detect.to_results(
            dataset, recording, Detections(segments_sec, np.zeros(len(scores), int), scores)
        )
        probabilities = case.info["video_level_scores"][key]
        best = {key: [(case.info["class_names"][np.argmax(probabilities)], max(probabilities))]}
        assert_same_detections(case, label_recordings({key: detections}, best)[key], golden[key])


def by_hand_outputs(auxiliary=True):
    """One window of 8 frames, one location in its middle, classes (background, first, second)."""
    values = dict(
        coarse_distances=jnp.array([[[3.0, 1.0]]]),
        coarse_logits=jnp.log(jnp.array([[[0.2, 0.5, 0.3]]])),
        refined_offsets=jnp.array([[[1.0, -0.25]]]),
        refined_logits=jnp.log(jnp.array([[[0.4, 0.1, 0.5]]])),
        quality_logits=jnp.log(jnp.array([[0.25 / 0.75]])),
    )
    return make_outputs(8, [1], values, jnp.log(jnp.array([[0.8 / 0.2]])) if auxiliary else None)


@pytest.mark.parametrize(
    "auxiliary, final_score, scores",
    [
        ("none", "replace_quality", [0.3 * 0.25, 0.4 * 0.25]),
        # without a branch the setting has no meaning
        ("classification", "aux_only", [0.3 * 0.25, 0.4 * 0.25]),
        ("branch", "replace_quality", [0.3 * 0.8, 0.4 * 0.8]),
        ("branch", "times_quality", [0.3 * 0.8 * 0.25, 0.4 * 0.8 * 0.25]),
        ("branch", "aux_only", [0.0, 0.8]),
    ],
)
def test_final_scores_by_hand(auxiliary, final_score, scores):
    config = afsd_config()
    config.window.frames = 8
    config.curriculum.auxiliary = auxiliary
    config.readings = (f"decode.final_score={final_score}",)
    candidates = of_locations(config, by_hand_outputs(auxiliary == "branch"))
    np.testing.assert_allclose(candidates.scores, [[scores]], rtol=1e-5)
    # Half the coarse width is 2: distances (3 + 2, 1 - 0.5), of which the first leaves the window.
    np.testing.assert_allclose(candidates.segments, [[[0.0, 4.5]]], rtol=1e-6)


@pytest.mark.parametrize("field", sorted(CHOICES))
def test_an_unknown_word_in_the_config_is_an_error_that_names_the_known_ones(field):
    config = afsd_config("dw_afsd")
    config.update_from_flattened_dict({field: "both ways"})
    with pytest.raises(
        DataError, match=f"config.{field} is 'both ways'; it must be one of {', '.join(CHOICES[field])}"
    ):
        require_valid(config, training=True)


@pytest.mark.parametrize("point", sorted(READINGS))
def test_an_unknown_reading_is_an_error_that_names_the_known_ones(point):
    config = afsd_config("dw_afsd")
    config.readings = (f"{point}=both ways",)
    known = " or ".join(f"{point}={value}" for value in READINGS[point])
    with pytest.raises(
        DataError, match=re.escape(f"config.readings has '{point}=both ways'; it may have {known}.")
    ):
        require_valid(config, training=True)


def test_a_recipe_says_whether_a_last_candidate_stays(monkeypatch):
    config, alone = afsd_config("afsd"), {"r": Detections(np.array([[1.0, 2]]), np.array([0]), np.ones(1))}
    assert len(SYSTEMS["afsd"].suppress(config, alone)["r"].scores) == 1
    monkeypatch.setitem(RECIPES["thumos14"], "decode.keep_last", False)
    assert len(SYSTEMS["afsd"].suppress(config, alone)["r"].scores) == 0
    config.readings = ("decode.keep_last=True",)
    assert len(SYSTEMS["afsd"].suppress(config, alone)["r"].scores) == 1


def test_fusion_averages_the_auxiliary_logits_too():
    first = by_hand_outputs()
    fused = fuse_streams(first, jax.tree.map(lambda x: 3 * x, first))
    np.testing.assert_allclose(fused.auxiliary_logits, 2 * first.auxiliary_logits)
    np.testing.assert_allclose(fused.anchors, first.anchors)


def test_two_equal_streams_are_one():
    config = afsd_config("dw_afsd")
    config.window.frames = 8
    outputs = by_hand_outputs()
    expected = of_locations(config, outputs)
    fused = fuse_streams(outputs, outputs)
    for candidates in (of_locations(config, fused), of_two_streams(config, outputs, outputs)):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), candidates, expected)


def test_geometric_mean_of_two_streams_by_hand():
    config = afsd_config("dw_afsd")
    config.window.frames = 8
    still = by_hand_outputs().replace(refined_offsets=jnp.zeros((1, 1, 2)))
    first, second = still, still.replace(coarse_distances=jnp.array([[[0.0, 0.05]]]))  # [1, 5] and [4, 4.05]
    candidates = of_two_streams(config, first, second)
    np.testing.assert_allclose(candidates.segments, [[[2.0, 4.5]]], rtol=1e-6)


def test_coarse_heads_alone():
    config = afsd_config("dw_afsd")
    config.window.frames = 8
    config.readings = ("decode.refined=False",)
    candidates = of_locations(config, by_hand_outputs())
    np.testing.assert_allclose(candidates.segments[0], [[1, 5]])
    np.testing.assert_allclose(candidates.scores[0], [[0.5, 0.3]], rtol=1e-6)


def test_every_detection_gets_the_recordings_first_class(tmp_path):
    path = tmp_path / "scores.json"
    path.write_text('{"class": ["a", "b", "c"], "results": {"v": [0.2, 0.7, 0.1]}}')
    results = {"v": [{"label": "action", "segment": [1.0, 2.0], "score": score} for score in (0.5, 0.1)]}
    found = label_recordings(results, best_classes(path))["v"]
    assert [d["label"] for d in found] == ["b", "b"]
    np.testing.assert_allclose([d["score"] for d in found], [0.35, 0.07])
    with pytest.raises(DataError, match="recording_scores lacks 1 of 1 recordings; the first is 'w'"):
        label_recordings({"w": []}, {})
    path.write_text('{"results": {"v": []}}')
    with pytest.raises(DataError, match="scores.json must hold"):
        best_classes(path)
