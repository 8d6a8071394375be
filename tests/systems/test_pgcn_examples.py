"""What P-GCN trains and is tested on: which actions count, and which neighbours."""

import dataclasses

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.features import build_dataset, data_config
from tal_jax.data.proposals import Proposals
from tal_jax.errors import DataError
from tal_jax.systems.pgcn import examples
from tal_jax.systems.pgcn.config import pgcn_config


def small(**truths_sec):
    """(config, dataset): recordings to train on of 20 s at 1 frame a second, the actions as given, each with
    12 proposals.
    """
    config = pgcn_config()
    config.data = data_config()
    recordings = {}
    for name, rows in truths_sec.items():
        labels = np.zeros(len(rows), np.int32)
        recordings[name] = Recording(
            name, "train", 20.0, np.reshape(np.array(rows, float), (-1, 2)), labels, fps=1.0
        )
    features = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    dataset = build_dataset(
        Annotations(("run",), recordings), lambda name: features, set(recordings), config.data, "here"
    )
    start = np.arange(12.0)
    proposals = Proposals(np.stack([start, start + 8], axis=1), np.ones(12))
    return config, dataclasses.replace(dataset, proposals=dict.fromkeys(recordings, proposals))


def test_actions_that_cannot_be_are_left_out():
    """Behind the end, before the start, reversed, without length; what reaches over an end is cut, as by the
    published code.
    """
    rows = [[30, 40], [20, 21], [-5, -1], [9, 4], [7, 7.2], [-1, 3], [16, 40]]
    config, dataset = small(monday=rows, tuesday=rows[:5], wednesday=[])
    monday = dataset.annotations.recordings["monday"]
    video = examples._labelled_video(dataset, "monday", monday, dataset.proposals["monday"])
    np.testing.assert_array_equal(video.truth_segments, [[0, 3], [16, 20]])
    items, make_example = examples.training_examples(config, dataset)
    assert {*items} == {"monday"}  # the others have no action left
    assert all(
        np.isfinite(value).all() for value in make_example("monday", np.random.default_rng(0)).values()
    )
    with pytest.raises(
        DataError, match="No recording of the subset 'train' holds an action; check the annotations"
    ):
        examples.training_examples(*small(tuesday=rows[:5]))


def test_labels_without_times_are_refused():
    with pytest.raises(DataError, match="'monday' has a label without times .*; training pgcn needs times"):
        examples.training_examples(*small(monday=[[1, 5], [np.nan, np.nan]]))


def test_there_must_be_proposals_to_train_on():
    config, dataset = small(monday=[[1, 5]])
    nothing = Proposals(np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(DataError, match="has actions and proposals; check config.proposals"):
        examples.training_examples(config, dataclasses.replace(dataset, proposals={"monday": nothing}))


def test_sampled_neighbours_at_test():
    config, dataset = small(monday=[[1, 5]])
    (make,) = examples.test_windows(config, dataset, "monday")
    _, _, inputs, known = make()
    assert inputs["neighbours"].shape == (600, 600) and len(known["shares"]) == 12
    np.testing.assert_array_equal(inputs["neighbours"].sum(axis=1)[:12], 10)
    config.readings = ("decode.sampled=True",)
    (make,) = examples.test_windows(config, dataset, "monday")
    sampled = make().inputs
    np.testing.assert_array_equal(sampled["neighbours"].sum(axis=1)[:12], 4)
    assert (sampled["neighbours"] <= inputs["neighbours"]).all()


def test_without_a_duration_a_recording_has_the_frames_that_its_features_see():
    """20 features, of 16 frames each, 4 apart: 92 frames. Proposals are cut there."""
    config = pgcn_config()
    config.data = data_config(fps=2.0, stride_frames=4, snippet_frames=16)
    recordings = {"monday": Recording("monday", "train", None, np.zeros((0, 2)), np.zeros(0, np.int32))}
    dataset = build_dataset(
        Annotations(("run",), recordings), lambda name: np.ones((20, 4)), {"monday"}, config.data, "here"
    )
    found = Proposals(np.array([[0.0, 23.0], [40.0, 99.0], [46.0, 99.0]]), np.ones(3))
    dataset = dataclasses.replace(dataset, proposals={"monday": found})
    (make,) = examples.test_windows(config, dataset, "monday")
    known = make().info
    assert known["duration_sec"] == 46
    np.testing.assert_allclose(known["shares"] * 46, [[0, 23], [40, 46]])
