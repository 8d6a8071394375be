"""What a system is to the rest of the project: plain functions, and what they give and take."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp

from tal_jax.config import is_two_stage
from tal_jax.data import windows
from tal_jax.errors import DataError
from tal_jax.optimizer import average_decay, make_optimizer
from tal_jax.run_config import trained_run
from tal_jax.runtime.checkpoints import Checkpoints
from tal_jax.systems import candidates

NORMALISER_MOMENTUM = 0.9


class Term(NamedTuple):
    """One loss: weight * sum / max(count, 1), sum and count over all devices and accumulated batches.

    sum and count are scalars; or both (K,), and the loss is the mean of sum / count over the classes whose
    count is not 0. If the module has a collection "normaliser" with the name of the loss, its `running_count`
    takes the place of the count.
    """

    weight: float
    sum: jax.Array
    count: jax.Array


def divided(total, divisor, count):
    """The value of a Term before its weight, a scalar.

    total: its sum, of this device; divisor: what that is divided by; count: of all devices. Scalars, or (K,)
    each.
    """
    if not total.ndim:
        return total / divisor
    return (total / divisor).sum() / jnp.maximum((count > 0).sum(), 1)


def running_count(before, count):
    """The running mean of a count, with which ActionFormer divides in place of the count itself.

    before: what it was; count: of this batch, over all devices. Scalars.
    """
    return NORMALISER_MOMENTUM * before + (1 - NORMALISER_MOMENTUM) * jnp.maximum(count, 1.0)


def call(function, first, inputs):
    """Calls a module's `init` or `apply` with the inputs of an example or window: one array, or a dict of its
    arguments.
    """
    return function(first, **inputs) if isinstance(inputs, dict) else function(first, inputs)


def trained_nowhere(config, *_):
    """Raises the DataError of a system that only predicts, in place of its `examples` and its `loss`."""
    raise DataError(
        f"The config {config.name} only predicts, with published weights: the system '{config.system}' is "
        "not trained. Use --mode=predict --input=FILE; to learn classes of your own, train another system, "
        "such as --config=folder."
    )


def published_nowhere(source, config):
    """Raises the DataError of a system of which no published weights are known."""
    raise DataError(
        f"{source} cannot be converted: no published weights of the system '{config.system}' are known; "
        f"docs/data.md lists the systems that have them."
    )


def deployed_nowhere(config):
    """Raises the DataError of a system without a deployment of its own."""
    why = "starts from proposals" if is_two_stage(config) else "has no function `deployment`"
    raise DataError(
        f"A run of the system '{config.system}' cannot be exported, because it {why}; use tal_jax.load_run."
    )


def of_checkpoint(config, workdir):
    """The variables of a trained run, for inference: the checkpoint that `config.evaluate.checkpoint` names.

    Raises DataError if there is no checkpoint, or a damaged one.
    """
    if not Checkpoints.exist(workdir):  # and none of its folders is made
        folder = pathlib.Path(workdir) / "checkpoints" / "latest"
        raise DataError(f"No checkpoint in {folder}; train first with --mode=train.")
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        return checkpoints.restore_variables(config.evaluate.checkpoint)


@dataclasses.dataclass(frozen=True)
class System:
    """A system as plain functions. `config` is always the config of the run.

    Attributes:
      build: (config, K classes) -> Flax module; `module.apply(variables, inputs)` gives its named outputs.
      examples: (config, dataset) -> (items, make_example), see data.loader.training_batches.
      loss: (config, module, variables, batch, epoch, rng) -> (dict name -> Term, the module's collections
        beside "params", as this batch leaves them, the same on all devices). rng: key for what is random in
        the network.
      decode: (config, *outputs) -> dict of arrays (B, ...), on the device. There is one set of outputs for
        each stream, at most `max_streams`. A class activation sequence, where there is one, is "cas" (B, T,
        K).
      detections: (config, iterable of windows.Decoded, all of one recording, its Timeline) ->
        candidates.Detections, on the host. The iterable is to be read once, and may be long.
      windows: (config, dataset, recording name) -> iterator of functions that make a windows.Window.
      suppress: (config, dict recording name -> Detections) -> these, without detections that overlap
        better ones.
      optimizer: (config, total steps) -> optax transformation.
      average_decay: (config, update, from 0) -> decay of the running mean of parameters.
      max_streams: how many networks `decode` fuses.
      learns: whether it is trained; else it only predicts, with published weights.
      choices: {field: what it may be}, where that is less than ranges.py says.
      require_valid: (config) -> None; raises DataError for the first fields that do not go together.
      readings: {open point: its values, the default first}, which `config.readings` may say, see readings.py.
      problems: (config, dataset) -> sentences on what training would not learn, for --mode=check_data; those
        that do no harm begin with "Note:". Raises DataError where `examples` does.
      published: (weight file, config) -> published.trees.PublishedDetector; raises DataError if the file
        holds no published weights of the system, or none are known.
      numbers_of_cell: (config, D channels, K classes) -> about how many float32 numbers a training step keeps
        of each cell of a window, from which a plan finds its batch. The default, twice the input, is for a
        network that has little else.
      deployment: (config) -> candidates.Deployment, for --mode=export; raises DataError for a system, or
        fields, with which detection takes more than the network, its windows, `ops.localize` and suppression.
      stored_run: (config asked for, workdir: path, said: names of the fields that flags name) -> (config to
        use the run with, K class names in index order, a tuple, seconds that a frame lasted in training or
        None), see run_config.trained_run. Raises DataError if there is no run, or none that fits the config.
      variables: (config, workdir) -> variables of the network for inference, a dict of collections such as
        "params", of the shapes of `build(config, K).init`. Raises DataError if they are missing or
        damaged.
    """

    build: Callable
    examples: Callable
    loss: Callable
    decode: Callable
    detections: Callable
    windows: Callable = windows.of_recording
    suppress: Callable = candidates.suppress_soft
    optimizer: Callable = make_optimizer
    average_decay: Callable = average_decay
    max_streams: int = 1
    learns: bool = True
    choices: Mapping = dataclasses.field(default_factory=dict)
    require_valid: Callable = lambda config: None
    readings: Mapping = dataclasses.field(default_factory=lambda: candidates.READINGS)
    problems: Callable = lambda config, dataset: []
    published: Callable = published_nowhere
    numbers_of_cell: Callable = lambda config, channels, num_classes: 2 * channels
    deployment: Callable = deployed_nowhere
    stored_run: Callable = trained_run
    variables: Callable = of_checkpoint
