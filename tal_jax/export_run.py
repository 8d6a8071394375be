"""--mode=export: a trained run as one file, which `runtime_export.py` reads where tal_jax is not.

The file is a zip: about.json; a StableHLO program for each length of a window, and that of soft-NMS, as
`jax.export` serializes them; weights.npz, which the programs take as arguments. (`exports.py` writes results
in the formats of other programs.)
"""

import dataclasses
import functools
import io
import itertools
import json
import logging
import pathlib
import zipfile

import jax
import numpy as np
from jax import export

from tal_jax import __version__, evaluate
from tal_jax.data import load_dataset
from tal_jax.data.frames import GREY, STREAMS
from tal_jax.data.timeline import Timeline
from tal_jax.errors import DataError
from tal_jax.ops.nms import final_soft_nms
from tal_jax.page.recordings import as_in_files
from tal_jax.runtime.checkpoints import misfit
from tal_jax.runtime.files import replacing
from tal_jax.runtime_export import FEWEST_ROWS, FORMAT, as_frames
from tal_jax.systems import SYSTEMS
from tal_jax.systems.interface import call

log = logging.getLogger(__name__)

PREPARED_BY = (
    *("samples_per_frame", "channel_offsets", "channel_scales", "fill_missing", "statistics_samples"),
    *("samples_beside", "standardised"),
)
PLATFORMS = ("cpu", "cuda", "tpu")
MOST_ROWS = 1 << 24  # of a suppression


def export_run(config, workdir, said=()):
    """Writes the run in a workdir to `<workdir>/<name of its config>.zip`. Returns the path.

    Args:
      config: the run's config.
      workdir: folder of the trained run.
      said: fields that flags name, see `run_config.trained_run`.

    Raises:
      DataError: there is no run or no checkpoint, or detection takes more than samples and a Deployment says,
        or nothing says how many samples its recordings have in a second.
    """
    runs = evaluate.find_runs(config, workdir, said)
    config, classes, data = runs[0].config, runs[0].classes, runs[0].config.data
    deployment = SYSTEMS[config.system].deployment(config)
    _require_alone(config)
    frame_sec = runs[0].frame_sec or 0.0  # where the files of training say their rate
    fps = _rate_of(data, frame_sec) if frame_sec else data.fps
    if not fps or not data.stride_frames:
        what = "how many samples its recordings have in a second; set config.data.fps and .stride_frames"
        raise DataError(f"The run '{config.name}' cannot be exported, for nothing says {what}.")
    variables = SYSTEMS[config.system].variables(config, workdir)
    log.info("Exporting for %s.", ", ".join(PLATFORMS))
    about = _about(config, classes, deployment, fps)
    programs = {
        f"network_{length}.stablehlo": _network(config, len(classes), variables, about, length)
        for length in deployment.lengths
    }
    if deployment.localize:
        log.info("Beside the file and runtime_export.py, detection needs the folder tal_jax/ops.")
    else:
        programs["suppress.stablehlo"] = _suppression(config, len(classes), deployment)
    weights, path = io.BytesIO(), pathlib.Path(workdir) / f"{config.name}.zip"
    np.savez(weights, **{str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(variables))})
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("about.json", json.dumps(about, indent=1))
        for name, program in programs.items():
            file.writestr(name, bytes(program))
        file.writestr("weights.npz", weights.getvalue())
    return path


def _rate_of(data, frame_sec):
    """Frames a second of files whose features are `frame_sec` apart: `data.fps`, or the shortest that fits.

    A rate that is off by its last digit would move segments to the other side of greedy NMS's threshold.
    """
    stride_frames = data.samples_per_frame * data.stride_frames
    rate = stride_frames / frame_sec
    likely = (data.fps, *(float(f"{rate:.{digits}g}") for digits in range(1, 17)))
    return next((fps for fps in likely if fps and stride_frames / fps == frame_sec), rate)


def _require_alone(config):
    """Raises DataError for a run whose detections need more than the samples of a recording."""
    reason = ""
    if config.evaluate.second_workdir:
        reason = "it is fused with a second run; clear config.evaluate.second_workdir to export one of them"
    if config.evaluate.recording_scores:
        reason = "its classes come from a file of class scores; clear config.evaluate.recording_scores"
    if reason:
        raise DataError(f"The run '{config.name}' cannot be exported: {reason}.")


def _about(config, classes, deployment, fps):
    """about.json as a dict: all that `runtime_export.Detector` needs beside programs and weights."""
    data = config.data
    prepare = {field: data[field] for field in PREPARED_BY}
    if data.input == "features":
        channels = data.num_channels
        if not channels or data.stream:  # the files say it
            dataset = load_dataset(as_in_files(config), classes)
            channels = dataset.read(next(iter(dataset.annotations.recordings))).shape[-1]
        shape, dtype, padding = (channels,), "float32", 0.0
        rows = data.samples_per_frame
        frame_shape = as_frames(np.zeros((rows, channels), np.float32), prepare).shape[1:]
        what = f"{channels} numbers as the files of the data set hold them"
    else:
        shape, dtype, padding = (data.crop_pixels, data.crop_pixels, STREAMS[data.input]), "float16", GREY
        frame_shape = shape
        what = f"the middle {shape} of a frame of {data.frame_pixels} x {data.frame_pixels} pixels, uint8"
    samples = Timeline(fps, data.stride_frames, data.snippet_frames)
    what += f"; {fps / data.stride_frames:.6g} samples a second"
    frames = samples.folded(data.samples_per_frame)
    return {
        "format": FORMAT,
        "name": config.name,
        "system": config.system,
        "classes": list(classes),
        "input": {"shape": shape, "what": what, "stream": data.stream or data.input},
        "prepare": prepare,
        "frame": {"shape": frame_shape, "dtype": dtype, "padding": padding},
        "times": {"samples": dataclasses.asdict(samples), "frames": dataclasses.asdict(frames)},
        "windows": {
            "lengths": deployment.lengths,
            "stride": deployment.stride,
            "batch": config.evaluate.batch_size if deployment.stride else 1,
        },
        **_about_scores(config, deployment),
        "platforms": PLATFORMS,
        "versions": {"tal_jax": __version__, "jax": jax.__version__, "numpy": np.__version__},
    }


def _about_scores(config, deployment):
    """The part of about.json on how candidates are found, and become detections."""
    suppression = dict(deployment.suppression, together=deployment.together, most=deployment.most)
    min_score = {"shown": config.predict.min_score}
    if deployment.localize:
        return {"suppression": suppression, "min_score": min_score, "localize": dict(deployment.localize)}
    suppression.update(sigma=config.decode.nms_sigma, score_floor=config.decode.nms_floor)
    return {"suppression": suppression, "min_score": min_score | {"candidates": config.decode.min_score}}


def _network(config, num_classes, variables, about, length):
    """The serialized program (weights, inputs (B, T, …), num_frames (B,)) -> `System.decode` of them.

    B is any number where windows are a grid, or `evaluate.batch_size` for a network that cannot take any; 1
    for whole recordings. T is `length`.
    """
    system, frame = SYSTEMS[config.system], about["frame"]
    model = system.build(config, num_classes)
    shape, structure = (length, *frame["shape"]), jax.tree.structure(variables)

    def of_window(inputs, num_frames):  # a window of snippets is never padded
        return inputs if config.window.get("snippets") else dict(inputs=inputs, num_frames=num_frames)

    kinds = jax.ShapeDtypeStruct((1, *shape), frame["dtype"]), jax.ShapeDtypeStruct((1,), np.int32)
    expected = jax.eval_shape(functools.partial(call, model.init, jax.random.key(0)), of_window(*kinds))
    if difference := misfit(variables, expected):
        what = f"The checkpoint is not that of the network of config.json beside it ({config.system})"
        raise DataError(f"{what}: {difference}. Put back the files of one run.")

    def network(weights, inputs, num_frames):
        own = jax.tree.unflatten(structure, weights)
        return system.decode(config, call(model.apply, own, of_window(inputs, num_frames)))

    def of_batch(batch):
        inputs = jax.ShapeDtypeStruct((batch, *shape), frame["dtype"])
        return _serialized(network, weights, inputs, jax.ShapeDtypeStruct((batch,), np.int32))

    weights = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(variables)]
    windows = about["windows"]
    if not windows["stride"]:
        return of_batch(1)
    try:
        return of_batch(export.symbolic_shape("batch")[0])
    except Exception as error:  # whatever an operation raises that needs the number
        log.debug("No symbolic number of windows: %s", error)
        log.info("The program takes %d windows at a time, not any number.", windows["batch"])
        return of_batch(windows["batch"])


def _suppression(config, num_classes, deployment):
    """The serialized `final_soft_nms` of one recording: P classes, or 1 if they suppress each other, of M
    candidates each, M any number from FEWEST_ROWS on.
    """
    decode, bounds = config.decode, [f"rows >= {FEWEST_ROWS}", f"rows <= {MOST_ROWS}"]
    options = dict(sigma=decode.nms_sigma, score_floor=decode.nms_floor, **deployment.suppression)
    (rows,) = export.symbolic_shape("rows", constraints=bounds)
    shape = (1 if deployment.together else num_classes, rows)
    kinds = ((*shape, 2), np.float32), (shape, np.float32), (shape, bool)
    function = functools.partial(final_soft_nms, **options)
    return _serialized(function, *itertools.starmap(jax.ShapeDtypeStruct, kinds))


def _serialized(function, *arguments):
    return export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).serialize()
