"""The simulated person of benchmarks/corrections.py, and the way from labels to detections and back."""

import json

import numpy as np
import pytest

from benchmarks.corrections import corrected, read_track, write_track
from tal_jax import predict, train
from tal_jax.annotations import convert_labels
from tests.conftest import FPS, RECORDINGS

TRUTH = [(1.0, 3.0, "walk"), (5.0, 9.0, "sit"), (10.0, 12.0, "walk"), (20.0, 24.0, "lie")]


def test_nothing_found_is_all_added():
    labels, done = corrected([], TRUTH)
    assert labels == TRUTH and done == {"added": 4, "deleted": 0}


def test_what_is_near_stays_and_the_rest_is_moved_renamed_added_or_deleted():
    found = [
        (1.4, 3.3, "walk"),  # within half a second
        (5.0, 8.0, "sit"),  # its end is moved
        (10.0, 12.0, "lie"),  # it is renamed
        (15.0, 16.0, "lie"),  # nothing takes place there
        (5.1, 8.9, "lie"),  # its action has a detection of its class already
    ]
    labels, done = corrected(found, TRUTH)
    assert labels == [found[0], *TRUTH[1:]]
    assert done == {"kept": 1, "moved": 1, "relabelled": 1, "added": 1, "deleted": 2}
    assert corrected([(30.0, 31.0, "walk")], []) == ([], {"deleted": 1})


def test_tracks_there_and_back(tmp_path):
    write_track(tmp_path / "a.txt", TRUTH)
    assert read_track(tmp_path / "a.txt") == TRUTH


def truth_of(name):
    """The actions of a recording of the tiny data set."""
    return [(start / FPS, end / FPS, label) for label, start, end in RECORDINGS[name][1]]


def test_detections_that_a_person_corrects_teach_the_next_model(tiny, tiny_data, tmp_path):
    """Labels of "monday" teach a model that finds the actions of "tuesday"; corrected, these teach the next."""

    def teach(names, workdir):
        tracks = [tmp_path / "labels" / f"{name}.txt" for name in (*names, "sunday")]
        path = tmp_path / f"{workdir}.json"
        convert_labels([*map(str, tracks)], path, features=str(tiny_data), fps=FPS, test=["sunday"])
        config = tiny("toy", epochs=30)
        config.predict.min_score, config.data.annotations = 0.5, str(path)
        return config, train.train(config, tmp_path / workdir)["map"]["0.3"]

    for name in ("monday", "sunday"):
        write_track(tmp_path / "labels" / f"{name}.txt", truth_of(name))
    config, _ = teach(["monday"], "first")
    source = str(tiny_data / "tuesday.npy")
    predict.predict(config, tmp_path / "first", source, export=["audacity"])
    found = read_track(tmp_path / "first" / "predictions" / "tuesday.txt")
    labels, done = corrected(found, truth_of("tuesday"))
    assert done["kept"] + done["moved"] > 0  # the first model has learnt something
    write_track(tmp_path / "labels" / "tuesday.txt", labels)
    config, score = teach(["monday", "tuesday"], "second")
    entry = json.loads((tmp_path / "second.json").read_text())["database"]["tuesday"]
    times = [action["segment"] for action in entry["annotations"]]
    assert [action["label"] for action in entry["annotations"]] == [row[2] for row in truth_of("tuesday")]
    np.testing.assert_allclose(times, [row[:2] for row in truth_of("tuesday")], atol=0.5)
    assert entry["subset"] == "train" and entry["duration"] == pytest.approx(20) and score > 50
