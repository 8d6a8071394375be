"""From trained networks to detections: windows -> network -> detections of each recording -> suppression."""

import functools
import itertools
from typing import NamedTuple

import flax
import jax
import ml_collections
import numpy as np

from tal_jax.data.dataset import OTHER_RATE, Dataset
from tal_jax.data.loader import chunks, pad_batch, stack_windows
from tal_jax.data.windows import Decoded
from tal_jax.errors import DataError
from tal_jax.ops.snippets import resize_linear
from tal_jax.runtime import distributed
from tal_jax.runtime.checkpoints import misfit, trained_channels
from tal_jax.runtime.parallel import make_parallel
from tal_jax.systems import SYSTEMS
from tal_jax.systems.candidates import NOTHING, Detections
from tal_jax.systems.interface import call


class Stream(NamedTuple):
    """A trained network and what it sees. A detector has one, or two whose outputs are fused: RGB and optical
    flow.

    Attributes:
      config: of the run.
      variables: of the network, for inference.
      dataset: Dataset of the recordings.
      frame_sec: seconds that a frame lasted in training, see `run_config.remember_run`.
    """

    config: ml_collections.ConfigDict
    variables: dict
    dataset: Dataset
    frame_sec: float | None = None


class Detector:
    """The networks of one run, or of two that are fused, on all devices; compiled at the first call.

    Attributes:
      config: of the first run; its `window`, `decode` and `evaluate` apply.
      batch_size: windows in a call.
    """

    def __init__(self, configs, num_classes, *, shared=False):
        """
        Args:
          configs: one of each run.
          num_classes: K.
          shared: whether all processes run it over the same recordings together.
        """
        self.config, self._shared = configs[0], shared
        self._index, self._count = (distributed.index(), distributed.count()) if shared else (0, 1)
        self._gather = distributed.gather if shared else lambda own: [own]
        self._system = SYSTEMS[self.config.system]
        self._models = [SYSTEMS[config.system].build(config, num_classes) for config in configs]
        settings = self.config.parallel
        self._parallel = make_parallel(settings.impl, settings.max_devices, alone=True)
        self._run = self._parallel.compile_map(self._body)
        num_devices = self._parallel.num_devices
        self.batch_size = -(-self.config.evaluate.batch_size // num_devices) * num_devices

    def _body(self, variables, batch):
        """The arrays of `System.decode` for the windows of one device.

        Args:
          variables: of the network of each stream.
          batch: {"inputs_0": the windows as the first stream sees them, "inputs_1": …}.
        """
        networks = enumerate(zip(self._models, variables, strict=True))
        outputs = [call(model.apply, own, batch[f"inputs_{i}"]) for i, (model, own) in networks]
        return self._system.decode(self.config, *outputs)

    def detect(self, streams, names):
        """Finds actions in whole recordings.

        Args:
          streams: a Stream of each network. The timeline is that of the first one.
          names: of the recordings.

        Returns:
          dict name -> list of {"label", "segment": [start_sec, end_sec], "score"}, as detections.json holds
          it.
        """
        kept = self._system.suppress(self.config, self.candidates(streams, names))
        return {name: to_results(streams[0].dataset, name, kept[name]) for name in names}

    def candidates(self, streams, names):
        """Finds actions in whole recordings, which still overlap.

        Args:
          streams, names: as for `detect`.

        Returns:
          dict name -> Detections, before suppression.
        """
        own, timeline = {}, streams[0].dataset.timeline
        windows = itertools.groupby(self.windows(streams, names), key=lambda pair: pair[0])
        for i, (name, pairs) in enumerate(windows):
            if i % self._count == self._index:  # each process finishes some recordings
                of_one = (decoded for _, decoded in pairs)
                own[name] = list(self._system.detections(self.config, of_one, timeline(name)))
        found = {name: Detections(*arrays) for part in self._gather(own) for name, arrays in part.items()}
        return {name: found.get(name, NOTHING) for name in names}

    def activation_sequences(self, stream, name):
        """The class activation sequence of a whole recording, the mean over windows where they overlap.

        Returns:
          (times_sec, cas): (T,) float64, the middle of each feature of the recording; (T, K) float32, as the
          system scales it.

        Raises:
          DataError: the system has none.
        """
        num_features, num_classes = len(stream.dataset.read(name)), len(stream.dataset.annotations.classes)
        sums, counts = np.zeros((num_features, num_classes), np.float32), np.zeros((num_features, 1))
        snippets = self.config.window.get("snippets")  # that stand for the features of a window
        for _, (offset, num_in_window, arrays) in self.windows([stream], [name]):
            if "cas" not in arrays:
                raise DataError(f"The system '{self.config.system}' has no class activation sequences.")
            cas = arrays["cas"]
            cas = resize_linear(cas, num_in_window) if snippets else cas[:num_in_window]
            sums[offset : offset + len(cas)] += cas
            counts[offset : offset + len(cas)] += 1
        counts = np.maximum(counts, 1)  # the end of a shot of a video may have none
        times_sec = stream.dataset.timeline(name).to_seconds(np.arange(num_features) + 0.5)
        return times_sec, (sums / counts).astype(np.float32)

    def windows(self, streams, names):
        """Runs the networks over all windows of the recordings.

        Of several processes that share the detector each runs every n-th batch, and all get all of it. A
        batch holds the same windows whatever their number, so that they find the same to the last bit.

        Args:
          streams, names: as for `detect`.

        Yields:
          (name, windows.Decoded) of each window in order.
        """
        variables = self._parallel.replicate(tuple(stream.variables for stream in streams))
        windows = zip(*(_windows_of(stream, names) for stream in streams), strict=True)
        if self._shared:
            distributed.require_same("The list of recordings", dict.fromkeys(names, "there"))
        for batches in chunks(chunks(windows, self.batch_size), self._count):
            own = [self._run_batch(variables, streams, batch) for batch in batches[self._index :][:1]]
            for decoded in itertools.chain.from_iterable(self._gather(own)):
                yield from ((name, Decoded(*rest)) for name, *rest in decoded)

    def _run_batch(self, variables, streams, batch):
        """[[name, *Decoded], …] of the windows of one batch, of which each stream has its own."""
        names = [of_streams[0][0] for of_streams in batch]
        made = [[make() for _, make in of_streams] for of_streams in batch]
        inputs = [stack_windows([window[i].inputs for window in made]) for i in range(len(streams))]
        inputs = {f"inputs_{i}": of_stream for i, of_stream in enumerate(inputs)}
        try:
            arrays = self._run(variables, pad_batch(inputs, self.batch_size))
        except (flax.errors.FlaxError, TypeError, ValueError) as error:
            for stream, model, of_stream in zip(streams, self._models, inputs.values(), strict=True):
                init = functools.partial(call, model.init, jax.random.key(0))
                _require_fitting(stream, jax.eval_shape(init, of_stream), names[0], error)
            raise
        rows = [{key: array[i] for key, array in arrays.items()} for i in range(len(batch))]
        return [
            [name, first.offset, first.num_features, row | first.info]
            for name, (first, *_), row in zip(names, made, rows, strict=True)
        ]


def _windows_of(stream, names):
    """(name, function that makes its Window) of each window of the recordings, as one stream sees it.

    Raises:
      DataError: a recording is sampled more than `OTHER_RATE` times slower or faster than in training.
    """
    for name in names:
        frame_sec, trained = stream.dataset.frame_sec(name), stream.frame_sec
        if frame_sec and trained and not 1 / OTHER_RATE < frame_sec / trained < OTHER_RATE:
            raise DataError(
                f"A frame of the recording '{name}' lasts {frame_sec:.4g} s, but {trained:.4g} s in the "
                f"recordings that the run was trained on; resample it to {frame_sec / trained:.4g} times as "
                "many samples, or correct its rate."
            )
        for make in SYSTEMS[stream.config.system].windows(stream.config, stream.dataset, name):
            yield name, make


def _require_fitting(stream, expected, name, error):
    """Raises DataError for a network that cannot have the variables of a stream.

    Either it saw other channels in training, or the checkpoint is not its own.

    Args:
      stream: Stream.
      expected: the shapes of its network's variables, for the inputs of the recording `name`.
      name: of the recording.
      error: why the network did not run.
    """
    channels = stream.dataset.read(name).shape[-1]
    if trained := trained_channels(stream.variables, expected, channels):
        raise DataError(
            f"Recording '{name}' has {channels} values a frame; the model was trained on {trained}."
        ) from error
    if difference := misfit(stream.variables, expected):
        classes = stream.dataset.annotations.classes
        raise DataError(
            "The checkpoint is not that of the network that config.json beside it tells of "
            f"({stream.config.system}, {len(classes)} classes: {', '.join(classes)}): {difference}. Put back "
            "the files of one run."
        ) from error


def to_results(dataset, name, detections):
    """Detections of one recording as detections.json holds them: clipped to the recording, empty ones left
    out.

    As published for ActivityNet; the published THUMOS code keeps all, and some end after a short recording.
    """
    segments_sec = np.clip(detections.segments_sec, 0, dataset.duration_sec(name))
    classes = dataset.annotations.classes
    return [
        {"label": classes[k], "segment": [float(start), float(end)], "score": float(score)}
        for (start, end), k, score in zip(segments_sec, detections.classes, detections.scores, strict=True)
        if end > start
    ]
