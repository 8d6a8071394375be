"""From trained networks to detections: windows -> candidates -> suppression over each recording and class."""

import dataclasses
import functools
import itertools
from typing import Callable, NamedTuple

import flax
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from tal_jax import distributed
from tal_jax.checkpoints import misfit, trained_channels
from tal_jax.data import windows
from tal_jax.data.features import OTHER_RATE, Dataset
from tal_jax.data.signals import finite_rows, place_of_first_bad
from tal_jax.data.loader import chunks, pad_batch, stack
from tal_jax.data.snippets import resize_linear
from tal_jax.errors import DataError
from tal_jax.ops.nms import hard_nms, soft_nms
from tal_jax.parallel import make_parallel
from tal_jax.systems import SYSTEMS
from tal_jax.systems.interface import call

NMS_ROWS = 1 << 16  # candidates suppressed in one call


class Stream(NamedTuple):
    """A trained network and what it sees. A detector has one, or two whose outputs are fused: RGB and optical flow.

    Attributes:
      config: of the run.
      variables: of the network, for inference.
      dataset: Dataset of the recordings.
      frame_sec: seconds that a frame lasted in training, see `checkpoints.remember_run`.
    """

    config: ml_collections.ConfigDict
    variables: dict
    dataset: Dataset
    frame_sec: float | None = None


def detect(detector, streams, names):
    """Runs the system over whole recordings: windows -> candidates -> suppression over each recording and class.

    Args:
      detector: Detector, made for the streams' configs.
      streams: Streams. The first one's config says how (`window`, `decode`, `evaluate`), its timeline when.
      names: of the recordings.

    Returns:
      dict name -> list of {"label", "segment": [start_sec, end_sec], "score"}, as detections.json holds it.
    """
    config, dataset = streams[0].config, streams[0].dataset
    kept = candidates = find_candidates(detector, streams, names)
    if SYSTEMS[config.system].refine is None:
        kept = suppress_hard(config, candidates) if config.decode.nms == "hard" else suppress(config, candidates)
    return {name: to_results(dataset, name, *kept[name]) for name in names}


def find_candidates(detector, streams, names):
    """All candidates of the recordings, before suppression; of a system that suppresses by itself what it leaves.

    Args: as for `detect`.

    Returns:
      dict name -> (segments_sec (M, 2), classes (M,), scores (M,)).
    """
    config, dataset = streams[0].config, streams[0].dataset
    refine = SYSTEMS[config.system].refine
    if refine:
        found = {name: (np.zeros((0, 2)), np.zeros(0, int), np.zeros(0)) for name in names}
        all_arrays = run_windows(detector, streams, names, lambda name, offset, num_cells, arrays: arrays)
        for name, of_one in itertools.groupby(all_arrays, key=lambda window: window[0]):
            found[name] = refine(config, [arrays for _, arrays in of_one], len(streams))
        return found

    def candidates(name, offset, num_cells, arrays):
        return list(detector.candidates(arrays, offset, num_cells, dataset.timeline(name)))

    pooled = {name: ([np.zeros((0, 2))], [np.zeros(0, int)], [np.zeros(0)]) for name in names}
    for name, found in run_windows(detector, streams, names, candidates):
        for pool, values in zip(pooled[name], found):
            pool.append(values)
    return {name: [np.concatenate(pool) for pool in pools] for name, pools in pooled.items()}


def activation_sequences(detector, stream, name):
    """The class activation sequence of a whole recording, where windows overlap the mean of theirs; of a system with `localize`.

    Returns:
      (times_sec, cas): (T,) float64, the middle of each feature of the recording; (T, K) float32, as the system scales it.
    """
    num_features = len(stream.dataset.read(name))
    sums, counts = np.zeros((num_features, len(stream.dataset.annotations.classes)), np.float32), np.zeros((num_features, 1))

    def sequence(name, offset, num_cells, arrays):
        return [offset, resize_linear(arrays["cas"], num_cells)]

    for _, (offset, cas) in run_windows(detector, [stream], [name], sequence):
        sums[offset : offset + len(cas)] += cas
        counts[offset : offset + len(cas)] += 1
    times_sec = stream.dataset.timeline(name).to_seconds(np.arange(num_features) + 0.5)
    return times_sec, (sums / counts).astype(np.float32)


def run_windows(detector, streams, names, finish):
    """Runs the networks over all windows of the recordings.

    Args:
      detector, streams, names: as for `detect`.
      finish: (name, offset, num_cells, arrays) -> what is wanted of a window, as `distributed.gather` takes it: the recording;
        first feature of the window and how many it has; what the detector's `run` gives of it, without the leading dimension.

    Yields:
      (name, what `finish` gives) of each window in order.

    Of several processes that share the detector each runs and finishes every n-th batch, and all get all of it. A batch holds the
    same windows whatever their number, so that they find the same to the last bit.
    """
    variables = detector.replicate(tuple(stream.variables for stream in streams))
    windows_of_all = zip(*(_windows(stream, names) for stream in streams), strict=True)
    index, count = (distributed.index(), distributed.count()) if detector.shared else (0, 1)
    if detector.shared:
        distributed.require_same("The list of recordings", dict.fromkeys(names, "there"))
    for batches in chunks(chunks(windows_of_all, detector.batch_size), count):
        own = _run_batch(detector, variables, streams, batches[index], finish) if index < len(batches) else []
        for windows_of_one in distributed.gather(own) if detector.shared else [own]:
            yield from windows_of_one


def _run_batch(detector, variables, streams, batch, finish):
    """See `run_windows`: [[name, what `finish` gives], …] of the windows of one batch."""
    made = [[make() for make in window] for window in batch]
    inputs = {f"inputs_{i}": stack([window[i][1] for window in made]) for i in range(len(streams))}
    rows = [window[0][0] for window in made]  # of the first stream
    try:
        arrays = detector.run(variables, pad_batch(inputs, detector.batch_size))
    except (flax.errors.FlaxError, TypeError, ValueError) as error:
        for i, stream in enumerate(streams):
            _require_fitting(stream, detector.shapes(i, inputs[f"inputs_{i}"]), rows[0][0], error)
        raise
    of_one = [{key: value[i] for key, value in arrays.items()} | window[0][2] for i, window in enumerate(made)]
    return [[row[0], finish(*row, one)] for row, one in zip(rows, of_one)]


def _require_fitting(stream, expected, name, error):
    """Raises DataError if a network cannot have the variables of a stream: it saw other channels, or the checkpoint is not its own.

    Args:
      stream: Stream.
      expected: the shapes of its network's variables, for the inputs of the recording `name`.
      name: of the recording.
      error: why the network did not run.
    """
    found = stream.variables
    trained = trained_channels(found, expected)
    if trained:
        channels = stream.dataset.read(name).shape[-1]
        raise DataError(f"Recording '{name}' has {channels} values a frame; the model was trained on {trained}.") from error
    if misfit(found, expected):
        classes = stream.dataset.annotations.classes
        raise DataError(
            f"The checkpoint is not that of the network that config.json beside it tells of ({stream.config.system}, {len(classes)} "
            f"classes: {', '.join(classes)}): {misfit(found, expected)}. Put back the files of one run."
        ) from error


@dataclasses.dataclass(frozen=True)
class Detector:
    """The compiled function from windows to their best candidates, on all devices.

    Attributes:
      batch_size: windows in a call.
      shared: whether all processes run it over the same recordings together; else each by itself.
      replicate: variables -> the form in which `run` takes them.
      run: (replicated variables of each stream, {"inputs_0": (batch_size, window, ...), "inputs_1": of a second stream}) -> dict of
        NumPy arrays: segments (batch_size, P, 2) in frames of the window, classes (batch_size, P) 0-based, scores (batch_size, P),
        in the order of locations; P = at most `config.decode.max_per_window`. Scores up to `config.decode.min_score` are 0. For a
        system that localizes or refines on the host: what its `decode` gives.
      candidates: (these arrays of one window, its first feature, its number of features, Timeline of the recording) ->
        segments_sec (M, 2), classes (M,), scores (M,).
      shapes: (which stream, its inputs of a batch) -> the variables that its network has for these, without values.
    """

    batch_size: int
    shared: bool
    replicate: Callable
    run: Callable
    candidates: Callable
    shapes: Callable


def make_detector(configs, num_classes, *, shared=False):
    """The Detector of one config, or of two that are fused; compiles at its first call. shared: see Detector."""
    config = configs[0]
    system, models = SYSTEMS[config.system], [SYSTEMS[c.system].build(c, num_classes) for c in configs]
    parallel = make_parallel(config.parallel.impl, config.parallel.max_devices, alone=True)

    def body(variables, batch):
        outputs = [call(model.apply, v, batch[f"inputs_{i}"]) for i, (model, v) in enumerate(zip(models, variables))]
        candidates = system.decode(config, *outputs) if len(outputs) == 1 else system.fuse(config, *outputs)
        if isinstance(candidates, dict):
            return candidates
        size, _, num_classes = candidates.scores.shape
        flat = candidates.scores.reshape(size, -1)
        _, best = jax.lax.top_k(flat, min(config.decode.max_per_window, flat.shape[1]))
        best = jnp.sort(best, axis=1)
        scores = jnp.take_along_axis(flat, best, axis=1)
        segments = jnp.take_along_axis(candidates.segments, (best // num_classes)[..., None], axis=1)
        return dict(
            segments=segments, classes=best % num_classes, scores=jnp.where(scores > config.decode.min_score, scores, 0.0)
        )

    def candidates(arrays, offset, num_cells, timeline):
        if system.localize:
            num_frames = max(round(num_cells * timeline.stride_frames), 1)
            segments_frame, classes, scores = system.localize(config, arrays, num_frames)
            segments = segments_frame * (num_cells / num_frames)
        else:
            kept = arrays["scores"] > 0
            segments, classes, scores = arrays["segments"][kept], arrays["classes"][kept], arrays["scores"][kept]
        return timeline.to_seconds(segments + offset), classes, scores

    def shapes(i, inputs):
        return jax.eval_shape(functools.partial(call, models[i].init, jax.random.key(0)), inputs)

    batch_size = -(-config.evaluate.batch_size // parallel.num_devices) * parallel.num_devices
    return Detector(batch_size, shared, parallel.replicate, parallel.compile_map(body), candidates, shapes)


def _windows(stream, names):
    """For every test window of the recordings a function that makes what `_window` does; see System.windows."""
    config, dataset = stream.config, stream.dataset
    own_windows = SYSTEMS[config.system].windows
    for name in names:
        _require_frame_sec(stream, name)
        if own_windows:
            _require_finite(config, dataset, name)
            for offset, num_cells, inputs, known in own_windows(config, dataset, name):
                yield functools.partial(tuple, ((name, offset, num_cells), inputs, known))
            continue
        for offset in windows.window_offsets(len(dataset.read(name)), config.window.frames, config.window.test_stride_frames):
            yield functools.partial(_window, config, dataset, name, offset)


def _require_frame_sec(stream, name):
    """Raises DataError for a recording that is sampled more than `OTHER_RATE` times slower or faster than in training."""
    frame_sec, trained = stream.dataset.frame_sec and stream.dataset.frame_sec(name), stream.frame_sec
    if frame_sec and trained and not 1 / OTHER_RATE < frame_sec / trained < OTHER_RATE:
        raise DataError(
            f"A frame of the recording '{name}' lasts {frame_sec:.4g} s, but {trained:.4g} s in the recordings that the run was "
            f"trained on; resample it to {frame_sec / trained:.4g} times as many samples, or correct its rate."
        )


def _window(config, dataset, name, offset):
    """((name, first feature, number of features), inputs, {}) of a window. Raises DataError for features that are not finite.

    A module whose windows may be padded gets the length of the recording in each, `num_frames`, beside `inputs`.
    """
    window = windows.window_inputs(config, dataset.read(name), offset)
    if not finite_rows(window["inputs"]).all():
        _require_finite(config, dataset, name)
    return (name, offset, int(window["num_frames"])), window["inputs"] if config.window.snippets else window, {}


def _require_finite(config, dataset, name):
    """Raises DataError for features that are not."""
    features = dataset.read(name)
    if not finite_rows(features).all():
        place = place_of_first_bad(features, config.data.samples_per_frame, config.data.statistics_samples)
        raise DataError(
            f"Recording '{name}' has NaN or infinite features, the first in {place}; correct the file."
        )


def suppress(config, candidates):
    """Soft-NMS over each recording and class, many of them in one compiled call.

    Args:
      config: the run's config (`decode`).
      candidates: name -> (segments_sec (M, 2), classes (M,), scores (M,)).

    Returns:
      The same, class by class and in input order within a class, with decayed scores; suppressed rows left out.
    """
    groups = {}  # number of rows, rounded up to a power of two -> [(name, class, rows)]
    for name, (_, classes, _) in candidates.items():
        for k in np.unique(classes):
            rows = np.flatnonzero(classes == k)
            groups.setdefault(max(64, 1 << (len(rows) - 1).bit_length()), []).append((name, k, rows))
    decayed = {name: np.zeros(len(scores)) for name, (_, _, scores) in candidates.items()}
    decode = config.decode
    for size, members in groups.items():
        for part in chunks(members, max(1, NMS_ROWS // size)):
            count = 1 << (len(part) - 1).bit_length()
            segments, scores = np.zeros((count, size, 2), np.float32), np.zeros((count, size), np.float32)
            for i, (name, _, rows) in enumerate(part):
                segments[i, : len(rows)], scores[i, : len(rows)] = candidates[name][0][rows], candidates[name][2][rows]
            new = soft_nms(
                segments,
                scores,
                sigma=decode.nms_sigma,
                score_floor=decode.nms_floor,
                top_k=decode.nms_top_k,
                keep_last=decode.keep_last,
            )
            for (name, _, rows), row in zip(part, np.asarray(new)):
                decayed[name][rows] = row[: len(rows)]
    result = {}
    for name, (segments_sec, classes, _) in candidates.items():
        order = np.argsort(classes, kind="stable")
        order = order[decayed[name][order] > 0]
        result[name] = segments_sec[order], classes[order], decayed[name][order]
    return result


def suppress_hard(config, candidates):
    """NMS over each recording and class: what overlaps a better candidate is left out.

    Args:
      config: the run's config (`decode`).
      candidates: as for `suppress`.

    Returns:
      The same, class by class and by falling score within a class.
    """
    result = {}
    for name, (segments_sec, classes, scores) in candidates.items():
        order = []
        for k in np.unique(classes):
            rows = np.flatnonzero(classes == k)
            kept = hard_nms(segments_sec[rows], scores[rows], config.decode.nms_tiou, config.decode.nms_extra_sec)
            order.extend(rows[kept])
        order = np.array(order, int)
        result[name] = segments_sec[order], classes[order], scores[order]
    return result


def to_results(dataset, name, segments_sec, classes, scores):
    """Detections of one recording as detections.json holds them: clipped to the recording, empty ones left out.

    As published for ActivityNet; the published THUMOS code keeps all, and some end behind a short recording.
    """
    segments_sec = np.clip(segments_sec, 0, dataset.duration_sec(name))
    return [
        {"label": dataset.annotations.classes[k], "segment": [float(start), float(end)], "score": float(score)}
        for (start, end), k, score in zip(segments_sec, classes, scores)
        if end > start
    ]
