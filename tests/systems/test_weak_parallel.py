"""Training steps of ECM and KT-MGFN on two devices."""

import functools

import jax
import numpy as np
import pytest

from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.kt_mgfn.optimizer import make_optimizer
from tests.runtime.test_parallel import IMPLEMENTATIONS, assert_close, devices, run_step

LABELS = np.float32([[1, 0], [1, 1], [0, 1], [0, 1]])


def four_recordings():
    """T = 12, C = 5: noise, and the labelled classes in it; the last recording only fills the batch."""
    rng = np.random.default_rng(0)
    inputs, clips = rng.standard_normal((2, 4, 12, 5)).astype(np.float32)
    inputs[:, 3:8, :2] += 3 * LABELS[:, None]
    mask = np.float32([1, 1, 1, 0])
    return {
        "inputs": inputs, "labels": LABELS, "slots": np.int32([[0, -1], [0, 1], [1, -1], [1, -1]]), "sample_mask": mask,
        "clip_inputs": clips, "clip_labels": np.eye(2, dtype=np.float32)[[0, 1, 1, 0]],
    }  # fmt: skip


def small_ecm(dropout):
    config = ecm_config()
    config.model.update(hidden=8, dropout=dropout)
    return config


@functools.cache
def ecm_on_one_device():
    return run_step(small_ecm(0.0), four_recordings(), "pmap", 1, steps=2)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_step_of_ecm_means_the_same_on_two_devices(impl):
    found = run_step(small_ecm(0.0), four_recordings(), impl, devices(2), steps=2)
    assert_close(found, ecm_on_one_device())


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_ecm_learns_with_dropout_on_two_devices(impl):
    state, values = run_step(small_ecm(0.5), four_recordings(), impl, devices(2), steps=60)
    first = ecm_on_one_device()[1]["total"]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((state, values)))
    assert values["total"] < 0.5 * first


def small_kt_mgfn():
    """Two epochs, here steps, of each stage; little to compile. The discrepancy, each device's own, has no
    weight.
    """
    config = kt_mgfn_config()
    config.model.update(width=4, predictor_width=4, anchors=(2.0, 4.0), dilations=(1,), cascade=False)
    config.stages.update(source_epochs=2, target_epochs=2, boundary_epochs=2, boundary_learning_rate=0.1)
    config.loss.transfer_weight = 0.0
    config.train.learning_rate = 1e-2
    return config


def run_kt_mgfn(impl, num_devices, config=None):
    config = config or small_kt_mgfn()
    return run_step(
        config, four_recordings(), impl, num_devices, 6, make_optimizer(config, config.train.epochs)
    )


@functools.cache
def kt_mgfn_on_one_device():
    return run_kt_mgfn("pmap", 1)


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_the_stages_of_kt_mgfn_mean_the_same_on_two_devices(impl):
    state, values = run_kt_mgfn(impl, devices(2))
    assert_close((state, values), kt_mgfn_on_one_device())
    assert values["contrast"] != 0 and state.step == 6
    parts = state.optimizer.inner_states
    assert set(parts) == {"source", "target", "boundary"}
    assert all(part.inner_state.step == 6 for part in parts.values())
