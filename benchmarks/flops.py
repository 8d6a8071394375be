"""Floating point operations of the real networks at the real shapes, counted by XLA: nothing is compiled or
computed.

A multiplication and an addition are two. Of a loop whose length XLA does not see, it counts one turn; no
network here spends much in one.
"""

import jax
import numpy as np

from benchmarks import programs
from tal_jax.backbones.i3d import I3D
from tal_jax.runtime.parallel import make_parallel


def count(function, *arguments, platform="tpu"):
    """FLOPs of one call of a function on an accelerator.

    Args:
      function: jitted or not.
      arguments: trees of arrays or jax.ShapeDtypeStruct.
      platform: 'tpu' or 'cuda'.
    """
    jitted = function if hasattr(function, "trace") else jax.jit(function)
    return jitted.trace(*arguments).lower(lowering_platforms=(platform,)).cost_analysis()["flops"]


def of_system(config, num_classes, num_channels):
    """Floating point operations and parameters of a config's network.

    Args:
      config: a run's config; its batch size is that of the count, so that what a step does once is shared by
        its windows.
      num_classes: of the data set.
      num_channels: of feature vectors; not read for frames.

    Returns:
      dict: train_flops of a window, forward, backward and update; test_flops of a window, with decoding;
      num_parameters. The pass that counts what losses are divided by, where batches are accumulated, is left
      out.
    """
    config = config.copy_and_resolve_references()
    config.train.accumulate_steps = 1  # of a loop over batches XLA would count one
    batch_size = config.train.batch_size
    made = programs.of_config(config, num_classes, num_channels, detected=batch_size)
    step = make_parallel("shard_map", 1).compile(made.step)
    return dict(
        train_flops=count(step, made.state, made.batch) / batch_size,
        test_flops=count(made.detect, made.variables, made.inputs) / batch_size,
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(made.state.params)),
    )


def of_snippet(frames, pixels, channels=3):
    """FLOPs of I3D on a snippet, up to Mixed_5c, as --mode=extract runs it."""
    model = I3D(outputs=("Mixed_5c",))
    snippet = jax.ShapeDtypeStruct((1, frames, pixels, pixels, channels), np.uint8)
    return count(model.apply, jax.eval_shape(model.init, jax.random.key(0), snippet), snippet)
