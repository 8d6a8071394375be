"""Small batches that make one update train as one batch of all their examples does: of every system."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tal_jax.backbones.i3d import BN_MOMENTUM, BatchNorm
from tal_jax.data.loader import pad_batch
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd import model as afsd_model
from tal_jax.systems.interface import System, Term
from tests.runtime.test_parallel import IMPLEMENTATIONS, devices, first_examples, run_step
from tests.systems.test_padding import assert_same, three_recordings
from tests.systems.test_tcanet_losses import small_training
from tests.systems.test_weak_parallel import kt_mgfn_on_one_device, run_kt_mgfn, small_ecm, small_kt_mgfn


def accumulating(config, examples, accumulate_steps):
    """A copy of the config with updates of so many examples, dealt into `accumulate_steps` batches."""
    config = config.copy_and_resolve_references()
    config.train.update(batch_size=examples // accumulate_steps, accumulate_steps=accumulate_steps)
    return config


def assert_accumulation_changes_nothing(config, batch, accumulate_steps=4, **options):
    """Of three examples: terms and parameters after gradient descent. With batches of one, the fourth is
    empty.
    """
    batch = pad_batch(batch, 4)
    expected, found = (
        run_step(accumulating(config, 4, number), batch, "pmap", 1, **options)
        for number in (1, accumulate_steps)
    )
    assert_same(found, expected)


def test_ecm():
    assert_accumulation_changes_nothing(small_ecm(0.0), three_recordings(), steps=2)


def test_the_stages_of_kt_mgfn():
    """The discrepancy has no weight: it is the mean of that of the small batches, one of which is empty."""
    expected = kt_mgfn_on_one_device()
    found = run_kt_mgfn("pmap", 1, accumulating(small_kt_mgfn(), 4, 4))
    for state, values in (expected, found):
        assert np.isfinite(values["transfer"]) and state.step == 6
    assert_same(found, expected)


@pytest.mark.slow
def test_tcanet():
    """With as many good proposals as others, the confidence loss takes all, and nothing depends on a draw."""
    config, two = small_training()
    batch = jax.tree.map(lambda values: np.concatenate([values, values[:1]]), two)
    batch["inputs"]["features"][2] += 0.3
    del batch["sample_mask"]
    config.model.update(dropout=0.0, encoders=0)
    config.loss.iou_thresholds = (0.5,)
    config.decode.confidence_stage = 1
    assert_accumulation_changes_nothing(config, batch)


def test_pgcn(tiny, tmp_path):
    """Incomplete places are rounded down once for all: int(6 * 4 * 0.25) of 4 videos, and not 4 * int(6 *
    0.25).
    """
    segments = [[start, start + length] for length in (2, 3, 5) for start in range(12)]
    rows = [{"segment": segment, "label": "slow"} for segment in segments]
    results = dict.fromkeys(("monday", "tuesday", "sunday"), rows)
    (tmp_path / "proposals.json").write_text(json.dumps({"results": results}))
    config = tiny("pgcn_dw")
    config.proposals = str(tmp_path / "proposals.json")
    config.model.update(dropout=0.0, branch_dropout=0.0)
    config.loss.hard_negative_share = 0.25
    batch = first_examples(config, 3, 3)
    del batch["sample_mask"]
    assert_accumulation_changes_nothing(config, batch)


@pytest.mark.slow
def test_dw_afsd(tiny, monkeypatch):
    """Positives of the refined stage depend on what the network says: they too are counted over all small
    batches.
    """
    monkeypatch.setattr(afsd_model, "NUM_LEVELS", 2)
    config = tiny("dw_afsd", ema_decay=0.0)
    config.loss.level_bounds = ()
    batch = first_examples(config, 3, 3)
    del batch["sample_mask"]
    assert_accumulation_changes_nothing(config, batch, 2)


# What is no sum over examples


def run_function(tiny, monkeypatch, loss, module, batch, *, accumulate_steps, num_devices=1, impl="pmap"):
    """`run_step` of a system made of a module and a loss. Returns (state, values)."""
    monkeypatch.setitem(SYSTEMS, "made", System(lambda config, num_classes: module, None, loss, None, None))
    config = accumulating(tiny("toy", ema_decay=0.0), len(batch["sample_mask"]), accumulate_steps)
    config.system = "made"
    return run_step(config, batch, impl, devices(num_devices), optimizer=optax.sgd(1.0))


class Normalised(nn.Module):
    """(B, C) -> (B, C), by statistics of the batch."""

    @nn.compact
    def __call__(self, inputs, sample_mask=None):
        return BatchNorm(jnp.float32, name="bn")(inputs, sample_mask)


def squares(config, model, variables, batch, epoch, rng):
    """The mean square, and the statistics after it."""
    mask = batch["sample_mask"]
    outputs, model_state = model.apply(variables, batch["inputs"], mask, mutable=["batch_stats"])
    return {"square": Term(1.0, (outputs**2).sum(-1) @ mask, mask.sum())}, model_state


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
@pytest.mark.parametrize("num_devices", [1, 2])
def test_statistics_move_with_every_small_batch(tiny, monkeypatch, num_devices, impl):
    """They are the same on any number of devices. A small batch without examples does not move them."""
    inputs = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    # rows 2 and 6 are one small batch
    batch = {"inputs": inputs, "sample_mask": np.float32([1, 1, 0, 1, 1, 1, 0, 1])}
    options = dict(accumulate_steps=4, num_devices=num_devices, impl=impl)
    state, values = run_function(tiny, monkeypatch, squares, Normalised(), batch, **options)
    mean, var, square = np.zeros(3), np.ones(3), 0.0
    for rows in (inputs[[0, 4]], inputs[[1, 5]], inputs[[3, 7]]):
        mean = BN_MOMENTUM * mean + (1 - BN_MOMENTUM) * rows.mean(0)
        var = BN_MOMENTUM * var + (1 - BN_MOMENTUM) * rows.var(0)
        square += ((rows - rows.mean(0)) ** 2 / (rows.var(0) + 1e-3)).sum()
    statistics = state.model_state["batch_stats"]["bn"]
    np.testing.assert_allclose(statistics["mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(statistics["var"], var, rtol=1e-5)
    np.testing.assert_allclose(values["square"], square / 6, rtol=1e-4)


class Weight(nn.Module):
    """w times the inputs."""

    @nn.compact
    def __call__(self, inputs):
        return self.param("w", nn.initializers.zeros, ()) * inputs


def drawn(config, model, variables, batch, epoch, rng):
    """The mean of the inputs times w, each row weighted by a draw."""
    draws = jax.random.uniform(rng, batch["inputs"].shape)
    return {"drawn": Term(1.0, (draws * model.apply(variables, batch["inputs"])).sum(), draws.sum())}, {}


def test_each_small_batch_has_its_own_draws_in_both_passes(tiny, monkeypatch):
    ones = {"inputs": np.ones(8, np.float32), "sample_mask": np.ones(8, np.float32)}
    for inputs, expected in ((np.ones(8), 1.0), (np.arange(8.0), None)):
        batch = ones | {"inputs": inputs.astype(np.float32)}
        state, _ = run_function(tiny, monkeypatch, drawn, Weight(), batch, accumulate_steps=8)
        if expected:  # weights add up to 1: those that are counted are those of the gradient
            np.testing.assert_allclose(-state.params["w"], expected, rtol=1e-5)
        else:  # with the same draw for all, the plain mean
            assert abs(-state.params["w"] - 3.5) > 1e-2


def not_computed(config, model, variables, batch, epoch, rng):
    """Two terms, one of which no example has."""
    nothing = jnp.zeros(())
    return {
        "mean": Term(1.0, model.apply(variables, batch["inputs"]).sum(), nothing + 2),
        "none": Term(1.0, nothing, nothing),
    }, {}


def test_a_term_that_is_not_computed_is_0(tiny, monkeypatch):
    batch = {"inputs": np.float32([1, 2, 3, 4]), "sample_mask": np.ones(4, np.float32)}
    state, values = run_function(tiny, monkeypatch, not_computed, Weight(), batch, accumulate_steps=2)
    assert values["none"] == 0 and state.params["w"] == -10 / 4
