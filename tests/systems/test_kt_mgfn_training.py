"""KT-MGFN learns two recordings by heart, stage after stage, and finds where their actions are."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tal_jax.systems import kt_mgfn
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.kt_mgfn.decode import decode, localize
from tal_jax.systems.kt_mgfn.losses import loss
from tal_jax.systems.kt_mgfn.optimizer import make_optimizer

ACTIONS = [(4, 14), (11, 21)]  # first and last snippet + 1, of class 0 and of class 1
STAGES = {"source": 40, "target": 40, "boundary": 60}  # steps, one an epoch


def two_recordings():
    """T = 24, C = 8: noise, the same in all, and an action of class k: strong on channel k, then weak on
    channel k + 2.

    A clip is nothing but action.
    """
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal((24, 8), np.float32)
    recordings, clips = np.tile(noise, (2, 2, 1, 1))
    for k, (start, end) in enumerate(ACTIONS):
        middle = (start + end) // 2
        recordings[k, start:middle, k] += 2.0
        recordings[k, middle:end, k + 2] += 1.0
        clips[k, :12, k] += 2.0
        clips[k, 12:, k + 2] += 1.0
    labels = np.eye(2, dtype=np.float32)
    return {
        "inputs": recordings, "labels": labels, "sample_mask": np.ones(2, np.float32),
        "clip_inputs": clips, "clip_labels": labels,
    }  # fmt: skip


def overfitted(row):
    """(config, outputs on the two recordings after training, {term: value at each step})."""
    config = kt_mgfn_config(row)
    config.model.update(
        width=16, predictor_width=16, anchors=(2.0, 4.0, 8.0), dilations=config.model.dilations[:2]
    )
    config.stages.update(
        {f"{part}_epochs": epochs for part, epochs in STAGES.items()}, boundary_learning_rate=0.1
    )
    config.train.update(learning_rate=5e-3, batch_size=2)
    module, batch, total_steps = kt_mgfn.build(config, 2), two_recordings(), config.train.epochs
    optimizer = make_optimizer(config, total_steps)
    params = jax.jit(module.init)(jax.random.key(0), batch["inputs"])["params"]

    def step(carry, epoch):
        params, state = carry

        def local_loss(params):
            terms, _ = loss(config, module, {"params": params}, batch, epoch, None)
            values = {
                name: term.weight * term.sum / jnp.maximum(term.count, 1) for name, term in terms.items()
            }
            return sum(values.values()), values

        gradients, values = jax.grad(local_loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), values

    run = jax.jit(functools.partial(jax.lax.scan, step))
    (params, _), values = run((params, optimizer.init(params)), jnp.arange(total_steps, dtype=jnp.float32))
    return (
        config,
        jax.jit(module.apply)({"params": params}, batch["inputs"]),
        jax.tree.map(np.asarray, values),
    )


def best_found(config, outputs, num_frames):
    """[(class, segment in frames) of the highest score] of each recording."""
    arrays = jax.tree.map(np.asarray, jax.jit(functools.partial(decode, config))(outputs))
    found = []
    for i in range(2):
        segments, classes, scores = localize(
            config, {name: array[i] for name, array in arrays.items()}, num_frames
        )
        found.append((classes[scores.argmax()], segments[scores.argmax()]))
    return found


def require_found(found, min_tiou):
    """The best segment of recording k is of class k and overlaps the action; a snippet is 5 frames long."""
    for k, (start, end) in enumerate(ACTIONS):
        label, segment = found[k]
        shared = min(segment[1], 5 * end) - max(segment[0], 5 * start)
        tiou = shared / (np.ptp(segment) + 5 * (end - start) - shared)
        assert label == k and tiou > min_tiou, (label, segment, tiou)


def test_the_whole_system_learns_two_recordings():
    config, outputs, values = overfitted("boundary")
    ends = dict(zip(STAGES, np.cumsum(list(STAGES.values()))))
    curves = {
        part: {name: curve[end - STAGES[part] : end] for name, curve in values.items()}
        for part, end in ends.items()
    }
    for part in ("source", "target"):
        for stage in ("first", "second"):
            curve = curves[part][f"{part}_{stage}"]
            assert curve[-1] < 0.2 * curve[0], (part, stage, curve[0], curve[-1])
    assert curves["target"]["transfer"][-1] < 0.7 * curves["target"]["transfer"][0]
    assert curves["boundary"]["contrast"][-10:].mean() < curves["boundary"]["contrast"][0] - 0.04

    np.testing.assert_allclose(outputs.probabilities, np.eye(2), atol=0.2)
    for k, (start, end) in enumerate(ACTIONS):
        middle = (start + end) // 2
        first, second = np.argmax(outputs.first.cas[k, :, k]), np.argmax(outputs.second.cas[k, :, k])
        assert start <= first < middle <= second <= end  # the second stage finds what was left to it
    require_found(best_found(config, outputs, num_frames=120), 0.7)


def test_activations_without_the_boundary_module_find_the_actions():
    config, outputs, _ = overfitted("multi_dilated")
    require_found(best_found(config, outputs, num_frames=120), 0.6)
