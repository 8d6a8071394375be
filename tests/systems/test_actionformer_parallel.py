"""A training step of ActionFormer means the same on any number of devices, and in accumulated batches."""

import functools

import jax
import numpy as np
import pytest

from tal_jax.systems.actionformer.config import actionformer_config
from tests.runtime.test_parallel import IMPLEMENTATIONS, devices, run_step
from tests.systems.test_accumulation import accumulating
from tests.systems.test_padding import assert_same


def small(weight_norm):
    """DW-ActionFormer of two levels, without the draws of stochastic depth."""
    config = actionformer_config("dw_actionformer")
    config.window.frames, config.curriculum.weight_norm = 16, weight_norm
    config.backbone.update(channels=8, heads=2, stem_blocks=0, branch_blocks=1, windows=(5,), drop_path=0.0)
    config.loss.update(level_bounds=((0, 4), (4, 1000)), normaliser=3.0)
    return config


def four_rows():
    """A batch of three recordings with 0, 1 and 2 actions, and a row that only fills it."""
    random = np.random.default_rng(0)
    segments = np.zeros((4, 2, 2), np.float32)
    segments[1, 0], segments[2] = (2, 8), ((1, 4), (6, 15))
    return {
        "inputs": random.standard_normal((4, 16, 6)).astype(np.float32),
        "num_frames": np.array([16, 10, 16, 16], np.int32),
        "segments_frame": segments,
        "labels": np.array([[0, 0], [1, 0], [2, 1], [0, 0]], np.int32),
        "sample_mask": np.array([1, 1, 1, 0], np.float32),
    }


def assert_same_step(found, expected):
    """`assert_same` of (state, values) but for key biases, whose gradients are 0 up to rounding."""

    def known(path, value):
        name = jax.tree_util.keystr(path)
        return value * 0 if "bias" in name and "['key" in name else value

    assert_same(*(jax.tree_util.tree_map_with_path(known, result) for result in (found, expected)))


@functools.cache
def on_one_device(weight_norm):
    """(state, values) after two steps of `small`."""
    return run_step(small(weight_norm), four_rows(), "pmap", 1, steps=2)


@pytest.mark.parametrize("weight_norm", ["none", "mean"])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_step_means_the_same_on_four_devices(impl, weight_norm):
    """One of them has no action, another one no recording: normaliser and mean weight are those of all."""
    found = run_step(small(weight_norm), four_rows(), impl, devices(4), steps=2)
    assert_same_step(found, on_one_device(weight_norm))


def test_small_batches_make_the_step_of_a_large_one():
    """The normaliser moves once a step, not with each of the small batches."""
    found = run_step(accumulating(small("none"), 4, 4), four_rows(), "pmap", 1, steps=2)
    assert_same_step(found, on_one_device("none"))


def test_a_row_that_fills_the_batch_counts_in_nothing():
    whole = {name: values[:3] for name, values in four_rows().items()}
    assert_same_step(run_step(small("mean"), whole, "pmap", 1, steps=2), on_one_device("mean"))
