"""What a system is to the rest of the project: plain functions, and what two of them return."""

import dataclasses
from typing import Callable, NamedTuple

import jax

from tal_jax.ranges import require_fields


class Term(NamedTuple):
    """One loss: weight * sum / max(count, 1), sum and count taken over all devices and accumulated batches."""

    weight: float
    sum: jax.Array
    count: jax.Array


class Candidates(NamedTuple):
    """Candidates of B windows, before suppression."""

    segments: jax.Array  # (B, N, 2) frames of the window, within the recording
    scores: jax.Array  # (B, N, K) one score for each class, background left out; 0 where there is no candidate


def call(function, first, inputs):
    """Calls a module's `init` or `apply` with the inputs of an example or window: one array, or a dict of its arguments."""
    return function(first, **inputs) if isinstance(inputs, dict) else function(first, inputs)


@dataclasses.dataclass(frozen=True)
class System:
    """Plain functions.

    Attributes:
      build: (config, number of classes) -> Flax module; `module.apply(variables, inputs)` gives its named outputs. To detect
        it also gets `num_frames` (B,) where `config.window.snippets` is 0: windows of features are then padded behind
        the end of a recording, and no candidate may come from there.
      examples: (config, dataset) -> (items, make_example): the batch layout, see data.loader.TrainingBatches.
      loss: (config, module, variables, batch, epoch, rng) -> (dict name -> Term(weight, sum, count), the module's collections
        beside "params", as this batch leaves them, the same on all devices). rng: key for what is random in the network.
      decode: (config, outputs) -> Candidates(segments (B, N, 2) in frames of the window, scores (B, N, K)); with `localize`: dict of
        arrays (B, ...), among them `cas` (B, T, K), the class activation sequence.
      fuse: (config, outputs of one network, outputs of another) -> Candidates; None where two streams cannot be fused.
      windows: of a system that does not see windows of features: (config, dataset, recording name) -> iterator of (offset, num_cells,
        inputs, known): first feature of the window and how many it has; what the module takes, a dict of its arguments; dict of
        arrays that `localize` or `refine` gets beside those of `decode`. None: windows of features, see data.windows.
      localize: where segments are found on the host: (config, the arrays of one window, F: its length in frames of the video) ->
        segments (M, 2) in those frames, classes (M,), scores (M,), before suppression over the recording. None: `decode` finds them.
      refine: of a system that suppresses by itself: (config, the arrays of all windows of a recording, number of streams) ->
        segments_sec (M, 2), classes (M,), scores (M,), on the host. `fuse` then gives such arrays too.
      make_optimizer: (config, total_steps) -> optax transformation; None: that of all systems.
      require_valid: (config) -> None; raises DataError for the first field whose value cannot be, before anything is trained.
      problems: (config, dataset) -> sentences on what training would not learn, for --mode=check_data; those that do no harm begin
        with "Note:". Raises DataError where `examples` does.
    """

    build: Callable
    examples: Callable
    loss: Callable
    decode: Callable
    fuse: Callable | None = None
    windows: Callable | None = None
    localize: Callable | None = None
    refine: Callable | None = None
    make_optimizer: Callable | None = None
    require_valid: Callable = require_fields
    problems: Callable = lambda config, dataset: []
