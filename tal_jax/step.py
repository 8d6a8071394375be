"""One update of training: the state, and the body of a step. It knows no system by name."""

import functools

import flax
import jax
import jax.numpy as jnp
import optax

from tal_jax.optimizer import global_norm
from tal_jax.published.i3d import with_backbone
from tal_jax.runtime.parallel import AXIS
from tal_jax.systems.interface import call, divided, running_count


@flax.struct.dataclass
class TrainState:
    """All that changes during training, and the constants of the network."""

    step: jax.Array  # () int32, updates made
    params: dict
    model_state: (
        dict  # the network's other collections: statistics of BatchNorms, frozen or not, and of losses
    )
    ema: dict | None  # exponential moving average of the parameters, None if switched off
    optimizer: optax.OptState

    def inference_variables(self):
        """The variables to evaluate and predict with."""
        return {"params": self.params if self.ema is None else self.ema, **self.model_state}


def init_state(config, model, optimizer, inputs, backbone_weights=""):
    """A fresh TrainState.

    Args:
      config: the run's config (`seed`, `train`).
      model: Flax module.
      optimizer: optax transformation.
      inputs: an example batch of model inputs, for shapes alone.
      backbone_weights: file of published weights that the backbone starts from; "": random ones.
    """
    variables = call(jax.jit(model.init), jax.random.key(config.seed), inputs)
    if backbone_weights:
        variables = with_backbone(variables, backbone_weights)
    params = variables.pop("params")
    ema = jax.tree.map(jnp.copy, params) if config.train.ema_decay else None
    return TrainState(jnp.zeros((), jnp.int32), params, variables, ema, jax.jit(optimizer.init)(params))


def make_step(config, system, model, optimizer, batches_per_epoch):
    """The body of a training step, one update, for one device of those that share the axis "data".

    With `train.accumulate_steps` = n > 1 the rows of this device are dealt into n small batches. A first pass
    counts what each term is divided by, over all of them and all devices. A second pass adds up their
    gradients. So they make the same update as one large batch, in the memory of a small one.

    Returns:
      (state, batch) -> (state, values), see `Parallel.compile`. values are the weighted loss terms, their
      `total`, the `gradient_norm`, and `stop`, the sum of the batch's: it is above 0 on all devices if one
      process was told to stop.
    """

    def terms_of(params, model_state, rows, rng, epoch):
        return system.loss(config, model, {"params": params, **model_state}, rows, epoch, rng)

    def counts_of(terms):
        return {name: jax.lax.stop_gradient(term.count) for name, term in terms.items()}

    @functools.partial(jax.grad, has_aux=True)
    def gradients_of(params, model_state, rows, rng, epoch, counts=None):
        before = model_state.get("normaliser", {})
        terms, model_state = terms_of(params, model_state, rows, rng, epoch)
        counts = counts or jax.lax.psum(counts_of(terms), AXIS)
        running = {name: running_count(mean, counts[name]) for name, mean in before.items()}
        divisors = {name: jnp.maximum(count, 1.0) for name, count in counts.items()} | running
        means = {name: divided(term.sum, divisors[name], counts[name]) for name, term in terms.items()}
        values = {name: term.weight * means[name] for name, term in terms.items()}
        total = sum(values.values())
        model_state = model_state | ({"normaliser": running} if running else {})
        return total, (values | {"total": total}, model_state)

    def accumulated(params, model_state, rows, rng, epoch):
        number = config.train.accumulate_steps
        dealt = jax.tree.map(lambda x: x.reshape(-1, number, *x.shape[1:]).swapaxes(0, 1), rows)
        small_batches = dealt, jax.random.split(rng, number)
        count = lambda small: counts_of(terms_of(params, model_state, *small, epoch)[0])
        counts = jax.tree.map(lambda x: x.sum(axis=0), jax.lax.map(count, small_batches))
        counts = jax.lax.psum(counts, AXIS)
        before = {name: means for name, means in model_state.items() if name == "normaliser"}

        def add(carry, small):
            gradients, model_state = carry
            more, (values, model_state) = gradients_of(params, model_state | before, *small, epoch, counts)
            return (jax.tree.map(jnp.add, gradients, more), model_state), values

        zeros = jax.tree.map(jnp.zeros_like, params)
        (gradients, model_state), values = jax.lax.scan(add, (zeros, model_state), small_batches)
        return gradients, (jax.tree.map(lambda x: x.sum(axis=0), values), model_state)

    def step(state, batch):
        rows = dict(batch)
        stop = rows.pop("stop").sum()
        epoch = (state.step // batches_per_epoch).astype(jnp.float32)
        rng = jax.random.fold_in(jax.random.key(config.seed), state.step)
        rng = jax.random.fold_in(rng, jax.lax.axis_index(AXIS))
        of_batch = accumulated if config.train.accumulate_steps > 1 else gradients_of
        gradients, (values, model_state) = of_batch(state.params, state.model_state, rows, rng, epoch)
        gradients, values = jax.lax.psum((gradients, values | {"stop": stop}), AXIS)
        values["gradient_norm"] = global_norm(gradients)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params, ema = optax.apply_updates(state.params, updates), state.ema
        if ema is not None:
            decay = system.average_decay(config, state.step)
            ema = jax.tree.map(lambda average, new: decay * average + (1 - decay) * new, ema, params)
        return TrainState(state.step + 1, params, model_state, ema, optimizer_state), values

    return step
