import functools
import json

import jax
import numpy as np
import pytest

from benchmarks import background, estimate, flops, scale, short_recordings, training
from configs import hacs, sbhar
from tal_jax.data.annotations import Annotations, Recording, load_annotations
from tal_jax.data.sets import sbhar as sbhar_data
from tal_jax.ops.conv3d import conv3d


def shape(*sizes):
    return jax.ShapeDtypeStruct(sizes, np.float32)


def test_a_convolution_is_counted_as_by_hand():
    def valid(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 2, 2), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
        )

    x, kernel = shape(2, 8, 17, 17, 5), shape(3, 3, 3, 5, 7)
    # a product and a sum for each output, tap and channel
    by_hand = 2 * (2 * 6 * 8 * 8) * (3 * 3 * 3 * 5) * 7
    assert flops.count(valid, x, kernel) == by_hand
    same = functools.partial(conv3d, formulation="native")
    assert flops.count(same, shape(1, 4, 4, 4, 1), shape(1, 1, 1, 1, 3)) == 2 * 4**3 * 3
    taps = (3 * 4 - 2) ** 3  # of a 3x3x3 kernel, SAME: those on padding are no work
    assert flops.count(same, shape(1, 4, 4, 4, 2), shape(3, 3, 3, 2, 5)) == 2 * taps * 2 * 5
    gradient = jax.grad(lambda kernel, x: valid(x, kernel).sum())
    # the sum and its gradient are the rest
    assert flops.count(gradient, kernel, x) == pytest.approx(by_hand, rel=0.02)


def test_a_training_step_costs_about_three_times_its_forward_pass():
    config = hacs.get_config("kt_mgfn,row=simple")
    counted = flops.of_system(config, 200, 256)
    assert 2 < counted["train_flops"] / counted["test_flops"] < 3.5
    config.train.accumulate_steps = 3  # and a batch of 16 is no multiple of it
    assert flops.of_system(config, 200, 256) == counted
    config.train.batch_size *= 2
    assert flops.of_system(config, 200, 256)["test_flops"] == pytest.approx(counted["test_flops"], rel=0.01)
    assert flops.of_system(config, 200, 256)["num_parameters"] == counted["num_parameters"] > 256 * 256


def test_times_by_hand():
    machine = estimate.Machine(chips=2, peak_flops=1e12, bytes_per_sec=1e9, cores=4, price=1.0)
    config = sbhar.get_config("ecm")
    config.train.update(batch_size=1, epochs=3)
    cost = dict(train_flops=5e11, num_parameters=250_000_000)
    # 2 windows a step: each chip takes 1, for 5e11 / (1e12 * 0.5) = 1 s, and sums 1e9 bytes for 1 s; 3 * 10 /
    # 2 steps.
    assert estimate.train_sec(machine, 0.5, config, 10, cost) == pytest.approx(3 * 10 / 2 * 2)
    config.train.accumulate_steps = 5  # batches of 1 s each, then one sum
    assert estimate.train_sec(machine, 0.5, config, 10, cost) == pytest.approx(3 * (5 * 1 + 1))
    assert estimate.all_reduce_sec(estimate.Machine(1, 1, 1, 1, 1), 1000) == 0
    network = estimate.extract_sec(
        machine, 0.5, num_frames=16e6, stride_frames=16, streams=1, snippet_flops=1e10
    )
    assert network == pytest.approx(1e6 * 1e10 / 1e12)
    reading = estimate.extract_sec(
        machine, 0.5, num_frames=16e6, stride_frames=16, streams=1, snippet_flops=1.0
    )
    assert reading == pytest.approx(16e6 / estimate.READ_FRAMES_PER_SEC / 4)
    assert estimate.span([36000 * 2, 3600], 3600) == "20 to 1"
    assert estimate.span([0]) == "–" and estimate.span([0.001]) == "< 0.01"


def test_windows_of_thumos14_are_those_of_its_annotations():
    job = estimate.jobs()["THUMOS14, RGB frames"]
    assert job.num_windows == (7842, 3461)


def test_ratios_are_of_the_same_turn():
    text = scale.table({"one": [0.1, 0.2, 0.4], "two": [0.2, 0.3, 0.4]})
    assert text.splitlines()[-1] == "| two | 300 | 1.50 | 1.00 to 2.00 |"


def test_pieces_of_recordings_have_their_own_truths(tmp_path):
    annotations = sbhar_data.bundled_annotations()
    pieces = short_recordings.write_pieces(annotations, 20, tmp_path)
    assert len(pieces.recordings) == 19
    for name, recording in annotations.subset("test").recordings.items():
        piece = pieces.recordings[f"{name}_20s"]
        first_sec = round(recording.duration_sec / 3 * 50) / 50
        samples = np.load(tmp_path / f"{name}_20s.npy")
        assert samples.shape == (1000, 6) and piece.duration_sec == 20
        np.testing.assert_array_equal(samples[0], sbhar_data.read_signal(name)[round(first_sec * 50)])
        starts, ends = recording.segments_sec.T - first_sec
        half_inside = np.minimum(ends, 20) - np.maximum(starts, 0) >= (ends - starts) / 2
        np.testing.assert_array_equal(piece.labels, recording.labels[half_inside])
        shifted = (recording.segments_sec[half_inside] - first_sec).clip(0, 20)
        np.testing.assert_allclose(piece.segments_sec, shifted, atol=1e-9)


def test_persons_are_held_out_whole(tmp_path):
    training.hold_out(tmp_path / "labels.json", training.persons()[::4])
    database = json.loads((tmp_path / "labels.json").read_text())["database"]
    persons = {subset: set() for subset in ("train", "test")}
    for name, entry in database.items():
        persons[entry["subset"]].add(name.split("_")[1])
    assert len(database) == 42 and len(persons["train"]) == 15 and len(persons["test"]) == 6
    assert not persons["train"] & persons["test"]


def test_false_alarms_by_hand(tmp_path):
    background.write_annotations(tmp_path / "labels.json", "walking")
    everything = load_annotations(tmp_path / "labels.json")
    assert len(everything.classes) == 11 and "walking" not in everything.classes
    segments, labels = np.array([[10.0, 20.0], [30.0, 40.0]]), np.array([0, 1])
    annotations = Annotations(("sit", "lie"), {"a": Recording("a", "test", 1800.0, segments, labels)})
    found = [
        ("sit", [10, 20], 0.9),  # right
        ("lie", [10, 20], 0.9),  # another class
        ("sit", [12, 14], 0.9),  # tIoU 0.2
        ("sit", [50, 60], 0.9),  # touches nothing
        ("sit", [50, 60], 0.2),  # not above 0.2
    ]
    detections = {
        "a": [{"label": label, "segment": segment, "score": score} for label, segment, score in found]
    }
    np.testing.assert_allclose(background.false_alarms_per_hour(annotations, detections), [6, 2])
    np.testing.assert_allclose(background.false_alarms_per_hour(annotations, {}), [0, 0])
