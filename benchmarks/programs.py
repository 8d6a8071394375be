"""The programs of a config, training step and detector, and the shapes of what they take: nothing is read,
computed or compiled.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.dataset import Dataset
from tal_jax.data.frames import STREAMS
from tal_jax.data.loader import stack
from tal_jax.data.proposals import Proposals
from tal_jax.data.timeline import Timeline
from tal_jax.step import init_state, make_step
from tal_jax.systems import SYSTEMS
from tal_jax.systems.interface import call

TOTAL_STEPS = 1000  # of the schedule; it changes nothing that is counted


class Programs(NamedTuple):
    """The bodies of a config's programs, see `runtime.parallel`, and the shapes that they take.

    Attributes:
      step: (state, batch) -> (state, values), one update.
      detect: (variables, inputs) -> dict of arrays (B, ...), what `System.decode` makes of windows.
      state: TrainState of `jax.ShapeDtypeStruct`s.
      batch: examples, the same.
      inputs: test windows, the same.
    """

    step: Any
    detect: Any
    state: Any
    batch: Any
    inputs: Any

    @property
    def variables(self):
        """The shapes of what `detect` takes first."""
        return self.state.inference_variables()


def of_config(config, num_classes, num_channels, batch_size=0, detected=0):
    """The Programs of a config.

    Args:
      config: a run's config.
      num_classes: of the data set.
      num_channels: of feature vectors as the network sees them; not read for frames.
      batch_size: examples of an update; 0: the config's.
      detected: windows of a call of `detect`; 0: the config's.
    """
    system = SYSTEMS[config.system]
    dataset = _one_recording(config, num_classes, num_channels)
    batch_size = batch_size or config.train.batch_size * config.train.accumulate_steps
    batch = _shapes(made_batch(config, num_classes, num_channels, 1), batch_size)
    window = next(system.windows(config, dataset, "one"))()
    model = system.build(config, num_classes)
    optimizer = system.optimizer(config, TOTAL_STEPS)
    state = jax.eval_shape(lambda inputs: init_state(config, model, optimizer, inputs), batch["inputs"])
    return Programs(
        step=make_step(config, system, model, optimizer, TOTAL_STEPS),
        detect=lambda variables, inputs: system.decode(config, call(model.apply, variables, inputs)),
        state=state,
        batch=batch,
        inputs=_shapes(stack([window.inputs]), detected or config.evaluate.batch_size),
    )


def made_batch(config, num_classes, num_channels, batch_size):
    """A batch of `batch_size` times the same example, of nothing: what a training step takes."""
    config = config.copy_and_resolve_references()
    if config.data.get("clips_subset"):
        config.data.clips_subset = ""  # clips are cut out of the recording, as where there are none
    dataset = _one_recording(config, num_classes, num_channels)
    items, make_example = SYSTEMS[config.system].examples(config, dataset)
    example = make_example(items[0], np.random.default_rng(0))
    example |= {"sample_mask": np.float32(1), "stop": np.float32(0)}
    return stack([example] * batch_size)


def _shapes(batch, size):
    """The shapes of a batch of one, for `size` examples."""
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct((size, *array.shape[1:]), array.dtype), batch)


def _one_recording(config, num_classes, num_channels):
    """A Dataset of one recording as long as a window, of nothing, with one action and one proposal in its
    middle.
    """
    data, length = config.data, config.window.get("frames") or config.window.snippets or 256
    shape = (num_channels,)
    if data.input != "features":
        shape = (data.frame_pixels, data.frame_pixels, STREAMS[data.input])
    middle, label = np.array([[0.25, 0.75]]) * length, np.zeros(1, np.int32)
    recording = Recording("one", data.train_subset, float(length), middle, label, 1.0)
    annotations = Annotations(tuple(map(str, range(num_classes))), {"one": recording})
    nothing = np.zeros((length, *shape), np.uint8 if data.input != "features" else np.float32)
    proposals = {"one": Proposals(middle, np.ones(1), label)}
    scores = {"one": np.full(num_classes, 1 / num_classes)}
    timeline = Timeline(1.0, 1, 1)
    return Dataset(annotations, lambda name: nothing, lambda name: timeline, (), proposals, scores)
