"""Floating point operations of the real networks at the real shapes, counted by XLA: nothing is compiled or
computed.

A multiplication and an addition are two. Of a loop whose length XLA does not see, it counts one turn; no
network here spends much in one.
"""

import functools

import jax
import numpy as np

from tal_jax.backbones.i3d import I3D
from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.frames import STREAMS
from tal_jax.data.timeline import Timeline
from tal_jax.runtime.parallel import make_parallel
from tal_jax.step import init_state, make_step
from tal_jax.systems import SYSTEMS
from tal_jax.systems.interface import call


def count(function, *arguments):
    """FLOPs of one call of a function, jitted or not. arguments: trees of arrays or jax.ShapeDtypeStruct."""
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    return jitted.lower(*arguments).cost_analysis()["flops"]


def of_system(config, num_classes, num_channels):
    """Floating point operations and parameters of a config's network.

    Args:
      config: a run's config; its batch size is that of the count, so that what a step does once is shared by
        its windows.
      num_classes: of the data set.
      num_channels: of feature vectors; not read for frames.

    Returns:
      dict: train_flops of a window, forward, backward and update; test_flops of a window; num_parameters. The
      pass that counts what losses are divided by, where batches are accumulated, is left out.
    """
    config = config.copy_and_resolve_references()
    config.train.accumulate_steps = 1  # of a loop over batches XLA would count one
    system, batch_size = SYSTEMS[config.system], config.train.batch_size
    items, make_example = system.examples(config, _one_recording(config, num_classes, num_channels))
    example = make_example(items[0], np.random.default_rng(0))
    example |= {"sample_mask": np.float32(1), "stop": np.float32(0)}
    batch = jax.tree.map(lambda array: jax.ShapeDtypeStruct((batch_size, *array.shape), array.dtype), example)
    model = system.build(config, num_classes)
    if isinstance(getattr(model, "backbone", None), I3D):
        model = model.clone(backbone=model.backbone.clone(conv="native"))  # as on an accelerator
    optimizer = system.optimizer(config, 1000)
    state = jax.eval_shape(lambda inputs: init_state(config, model, optimizer, inputs), batch["inputs"])
    step = make_parallel("shard_map", 1).compile(make_step(config, system, model, optimizer, 1000))
    variables = {"params": state.params, **state.model_state}
    forward = functools.partial(call, model.apply)
    return dict(
        train_flops=count(step, state, batch) / batch_size,
        test_flops=count(forward, variables, batch["inputs"]) / batch_size,
        num_parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    )


def of_snippet(frames, pixels, channels=3):
    """FLOPs of I3D on a snippet, up to Mixed_5c, as --mode=extract runs it."""
    model = I3D(outputs=("Mixed_5c",), conv="native")
    snippet = jax.ShapeDtypeStruct((1, frames, pixels, pixels, channels), np.uint8)
    return count(model.apply, jax.eval_shape(model.init, jax.random.key(0), snippet), snippet)


def _one_recording(config, num_classes, num_channels):
    """A Dataset of one recording as long as a window, of nothing, with one action in its middle."""
    data, length = config.data, config.window.frames or config.window.snippets
    shape = (num_channels,)
    if data.input != "features":
        shape = (data.frame_pixels, data.frame_pixels, STREAMS[data.input])
    middle, label = np.array([[0.25, 0.75]]) * length, np.zeros(1, np.int32)
    recording = Recording("one", data.train_subset, float(length), middle, label, 1.0)
    annotations = Annotations(tuple(map(str, range(num_classes))), {"one": recording})
    nothing = np.zeros((length, *shape), np.uint8)
    return Dataset(annotations, lambda name: nothing, lambda name: Timeline(1.0, 1, 1))
