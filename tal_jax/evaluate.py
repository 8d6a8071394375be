"""From trained parameters to detections over recordings, and from detections to scores."""

import dataclasses
import json
import logging
import pathlib
from typing import Callable

import flax
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.checkpoints import Checkpoints, trained_run
from tal_jax.data import dataset_annotations, load_dataset, windows
from tal_jax.data.loader import chunks, pad_batch
from tal_jax.errors import DataError
from tal_jax.evaluation.detection import evaluate_detections, require_protocol
from tal_jax.evaluation.detections_file import read_detections, write_detections
from tal_jax.files import replacing
from tal_jax.ops.nms import soft_nms
from tal_jax.parallel import make_parallel
from tal_jax.systems import SYSTEMS

log = logging.getLogger(__name__)

NMS_ROWS = 1 << 16  # candidates suppressed in one call


def evaluate(config, workdir, detections_path=""):
    """Scores a workdir's checkpoint on the test subset, or, without any model, a file of detections.

    Args:
      config: the run's config.
      workdir: where the checkpoint is and detections.json and evaluation.json go.
      detections_path: detections in the ActivityNet format, anyone's; "" runs the checkpoint.

    Returns:
      The evaluation (a dict), as in evaluation.json.

    Raises:
      DataError: a sentence for the user.
    """
    if not detections_path:
        config, classes = trained_run(config, workdir)
        dataset = load_dataset(config)
        if dataset.annotations.classes != classes:
            raise DataError(
                f"The run in {workdir} was trained on the classes {', '.join(classes)}; the annotations have "
                f"{', '.join(dataset.annotations.classes)}."
            )
        return evaluate_params(config, workdir, make_detector(config, len(classes)), load_params(config, workdir), dataset)
    if (pathlib.Path(workdir) / "config.json").exists():
        raise DataError(f"{workdir} holds a trained run, whose scores would be lost; choose another --workdir.")
    annotations, results = dataset_annotations(config), read_detections(detections_path)
    write_detections(pathlib.Path(workdir) / "detections.json", results)
    return _score(config, workdir, annotations, results)


def evaluate_params(config, workdir, detector, params, dataset):
    """As `evaluate`, for a detector, parameters and a dataset in hand; writes detections.json as well."""
    names = list(dataset.annotations.subset(config.data.test_subset).recordings)
    log.info("Evaluating on %d recordings.", len(names))
    results = detect(config, detector, params, dataset, names)
    write_detections(pathlib.Path(workdir) / "detections.json", results)
    return _score(config, workdir, dataset_annotations(config), results, left_out=dataset.missing)


def load_params(config, workdir):
    """Parameters for inference from the workdir's checkpoint (`config.evaluate.checkpoint`: 'latest' or 'best')."""
    checkpoints = Checkpoints(workdir)
    try:
        return checkpoints.restore_params(config.evaluate.checkpoint)
    finally:
        checkpoints.close()


def _score(config, workdir, annotations, results, left_out=()):
    require_scorable(config, annotations)
    scored = annotations.subset(config.data.test_subset).recordings
    result = evaluate_detections(
        annotations,
        results,
        subset=config.data.test_subset,
        tious=config.evaluate.tious,
        protocol=config.evaluate.protocol,
        left_out={*config.evaluate.left_out, *(name for name in left_out if name in scored)},
        other_recordings=config.evaluate.other_recordings,
    )
    with replacing(pathlib.Path(workdir) / "evaluation.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1))
    return result


def require_scorable(config, annotations):
    """Raises DataError if a field of `config.evaluate` cannot be, or the annotations lack the test subset."""
    try:
        require_protocol(config.evaluate.protocol, config.evaluate.tious, config.evaluate.other_recordings)
    except ValueError as error:
        raise DataError(f"config.evaluate.{error}") from error
    annotations.subset(config.data.test_subset)


def detect(config, detector, params, dataset, names):
    """Runs the system over whole recordings: windows -> candidates -> soft-NMS over each recording and class.

    Args:
      config: the run's config (`system`, `window`, `decode`, `evaluate`, `parallel`).
      detector: Detector.
      params: the parameters of its network.
      dataset: data.features.Dataset with the recordings.
      names: which of them.

    Returns:
      dict name -> list of {"label", "segment": [start_sec, end_sec], "score"}, as detections.json holds it.
    """
    params = detector.replicate(params)
    pooled = {name: ([], [], []) for name in names}
    for batch in chunks(_windows(config, dataset, names), detector.batch_size):
        rows, inputs = zip(*batch)
        try:
            segments, classes, scores = detector.run(params, pad_batch({"inputs": np.stack(inputs)}, detector.batch_size))
        except flax.errors.ScopeParamShapeError as error:
            channels = inputs[0].shape[1]
            raise DataError(f"Recording '{rows[0][0]}' has {channels} channels; the model was trained on another number.") from error
        for i, (name, offset) in enumerate(rows):
            kept = scores[i] > 0
            segments_sec = dataset.timeline(name).to_seconds(segments[i, kept] + offset)
            for pool, values in zip(pooled[name], (segments_sec, classes[i, kept], scores[i, kept])):
                pool.append(values)
    candidates = {name: [np.concatenate(pool) for pool in pools] for name, pools in pooled.items()}
    kept = suppress(config, candidates)
    return {name: _to_results(dataset.annotations, name, *kept[name]) for name in names}


@dataclasses.dataclass(frozen=True)
class Detector:
    """The compiled function from windows to their best candidates, on all devices.

    Attributes:
      batch_size: windows in a call.
      replicate: parameters -> the form in which `run` takes them.
      run: (replicated parameters, {"inputs": (batch_size, window, C), ...}) -> NumPy arrays: segments (batch_size, P, 2) in
        frames of the window, classes (batch_size, P) 0-based, scores (batch_size, P), in the order of locations;
        P = at most `config.decode.max_per_window`. Scores up to `config.decode.min_score` are 0.
    """

    batch_size: int
    replicate: Callable
    run: Callable


def make_detector(config, num_classes):
    """The Detector of the config's system; compiles at its first call."""
    system = SYSTEMS[config.system]
    model = system.build(config, num_classes)
    parallel = make_parallel(config.parallel.impl, config.parallel.max_devices)

    def body(params, batch):
        candidates = system.decode(config, model.apply({"params": params}, batch["inputs"]))
        size, _, num_classes = candidates.scores.shape
        flat = candidates.scores.reshape(size, -1)
        _, best = jax.lax.top_k(flat, min(config.decode.max_per_window, flat.shape[1]))
        best = jnp.sort(best, axis=1)
        scores = jnp.take_along_axis(flat, best, axis=1)
        segments = jnp.take_along_axis(candidates.segments, (best // num_classes)[..., None], axis=1)
        return segments, best % num_classes, jnp.where(scores > config.decode.min_score, scores, 0.0)

    batch_size = -(-config.evaluate.batch_size // parallel.num_devices) * parallel.num_devices
    return Detector(batch_size, parallel.replicate, parallel.compile_map(body))


def _windows(config, dataset, names):
    """((name, offset), (window, C) inputs) of every test window of the recordings, one after the other."""
    for name in names:
        for offset in windows.window_offsets(len(dataset.read(name)), config.window.frames, config.window.test_stride_frames):
            inputs = windows.window_inputs(dataset, name, offset, config.window.frames)["inputs"]
            if not np.isfinite(inputs).all():
                row = offset + int(np.argmin(np.isfinite(inputs).all(axis=1)))
                raise DataError(f"Recording '{name}' has NaN or infinite features, the first in row {row}; mend the file.")
            yield (name, offset), inputs


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
                segments, scores, sigma=decode.nms_sigma, score_floor=decode.nms_floor, top_k=decode.nms_top_k, keep_last=decode.keep_last
            )
            for (name, _, rows), row in zip(part, np.asarray(new)):
                decayed[name][rows] = row[: len(rows)]
    result = {}
    for name, (segments_sec, classes, _) in candidates.items():
        order = np.argsort(classes, kind="stable")
        order = order[decayed[name][order] > 0]
        result[name] = segments_sec[order], classes[order], decayed[name][order]
    return result


def _to_results(annotations, name, segments_sec, classes, scores):
    """Detections of one recording as detections.json holds them: clipped to the recording, empty ones left out.

    As published for ActivityNet; the published THUMOS code keeps all, and some end behind a short recording.
    """
    duration = annotations.recordings[name].duration_sec
    segments_sec = np.clip(segments_sec, 0, duration)
    return [
        {"label": annotations.classes[k], "segment": [float(start), float(end)], "score": float(score)}
        for (start, end), k, score in zip(segments_sec, classes, scores)
        if end > start
    ]
