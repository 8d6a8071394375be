"""The table of systems: what training, evaluation and prediction need to know of each."""

import dataclasses
from typing import Callable

from tal_jax.systems import afsd
from tal_jax.systems.afsd import decode as afsd_decode
from tal_jax.systems.afsd import examples as afsd_examples
from tal_jax.systems.afsd import losses as afsd_losses


@dataclasses.dataclass(frozen=True)
class System:
    """Four plain functions.

    Attributes:
      build: (config, number of classes) -> Flax module; `module.apply({"params": params}, inputs)` gives its named outputs.
      examples: (config, dataset) -> (items, make_example): the batch layout, see data.loader.TrainingBatches.
      loss: (config, module, params, batch, epoch) -> dict name -> Term(weight, sum, count).
      decode: (config, outputs) -> Candidates(segments (B, N, 2) in frames of the window, scores (B, N, K)).
    """

    build: Callable
    examples: Callable
    loss: Callable
    decode: Callable


AFSD = System(afsd.build, afsd_examples.training_examples, afsd_losses.loss, afsd_decode.decode)

SYSTEMS = {"afsd": AFSD, "dw_afsd": AFSD}
