"""--mode=extract: I3D features of videos, for every system that works on features."""

import collections
import functools
import itertools
import json
import logging
import pathlib

import jax
import numpy as np
from tqdm import tqdm

from tal_jax.backbones.i3d import I3D
from tal_jax.data import video
from tal_jax.data.frames import STREAMS
from tal_jax.data.loader import chunks
from tal_jax.errors import DataError
from tal_jax.files import replacing
from tal_jax.published import backbone_variables, recognise
from tal_jax.weight_files import read_weights

log = logging.getLogger(__name__)

FEWEST_FRAMES = {"Mixed_5c": 8, "Logits": 9}  # end point -> of a snippet: one step of Mixed_5c, and the two that Logits averages


def extract(config, workdir, source):
    """Writes NAME.npy (T, 1024 a stream) float32 for each video, RGB first: Mixed_5c, averaged over a snippet's time and space.

    With `config.extract.end_point` = "Logits": the probabilities of the classes that I3D was trained for, (T, 400 a stream) of Kinetics-400.
    Snippets have `config.data.snippet_frames` frames of the video's own rate and begin `config.data.stride_frames` apart, so that the
    same config trains on them. They go to `config.data.features`, or to <workdir>/features where that is not set. Files that
    are there stay; a folder of features that were made otherwise is refused.

    Args:
      config: the run's config (`data`, `extract`).
      workdir: see above.
      source: a video or a folder of them.

    Raises:
      DataError: no video, no weights; at the end, if some videos could not be read.
    """
    end_point = config.extract.end_point
    if end_point not in FEWEST_FRAMES:
        raise DataError(f"config.extract.end_point is '{end_point}'; it must be one of {', '.join(FEWEST_FRAMES)}.")
    paths = _videos(source)
    if config.data.snippet_frames < FEWEST_FRAMES[end_point]:
        raise DataError(
            f"config.data.snippet_frames is {config.data.snippet_frames}; {end_point} of I3D needs at least {FEWEST_FRAMES[end_point]} "
            "frames (the shared features have 16)."
        )
    if config.data.stride_frames < 1:
        raise DataError(
            f"config.data.stride_frames is {config.data.stride_frames}; say how many frames apart snippets begin, for example 16."
        )
    weights = {stream: config.extract[f"{stream}_weights"] for stream in STREAMS if config.extract[f"{stream}_weights"]}
    networks = {stream: _network(path, stream, end_point) for stream, path in weights.items()}
    if not networks:
        raise DataError("Say which weights: --config.extract.rgb_weights=FILE, --config.extract.flow_weights=FILE, or both.")
    folder = pathlib.Path(config.data.features or pathlib.Path(workdir) / "features")
    timing = dict(stride_frames=config.data.stride_frames, snippet_frames=config.data.snippet_frames)
    _require_same_settings(folder, weights | timing | dict(end_point=end_point))
    failed = 0
    for path in tqdm(paths, unit="video"):
        file = folder / f"{path.stem}.npy"
        if file.exists():
            continue
        try:
            features = np.concatenate([_features(config, path, stream, run) for stream, run in networks.items()], axis=1)
        except DataError as error:
            log.error("%s", error)
            failed += 1
            continue
        with replacing(file) as temporary, temporary.open("wb") as out:
            np.save(out, features)
    log.info("Features are in %s.", folder)
    if failed:
        raise DataError(f"{failed} of {len(paths)} videos could not be read, see above.")


def _videos(source):
    path = pathlib.Path(source)
    if not source or not path.exists():
        raise DataError(f"--input={source} is neither a video nor a folder of videos.")
    return video.find_videos(path)[0] if path.is_dir() else [path]


def _require_same_settings(folder, settings):
    """Writes settings.json, or raises DataError if the folder has one of other settings."""
    file = folder / "settings.json"
    if file.exists() and json.loads(file.read_text()) != settings:
        raise DataError(f"{folder} holds features of other settings ({file.name}); choose another --config.data.features.")
    with replacing(file) as temporary:
        temporary.write_text(json.dumps(settings))


def _network(path, stream, end_point):
    """Compiled function: snippets (B, T, H, W, C) uint8 -> (B, 1024), or (B, classes) for "Logits"."""
    if not pathlib.Path(path).exists():
        raise DataError(
            f"config.extract.{stream}_weights names {path}, which does not exist; tal_jax.convert writes it (docs/data.md)."
        )
    weights = read_weights(path)
    found = recognise(weights, path)[1]
    if found != stream:
        raise DataError(f"config.extract.{stream}_weights names {path}, which is for {found}.")
    variables = jax.device_put(backbone_variables(weights, path))
    layer = variables["params"].get("logits")
    if end_point == "Logits" and layer is None:
        raise DataError(f"config.extract.{stream}_weights names {path}, which has no classification layer.")
    model = I3D(outputs=(end_point,), num_classes=layer["bias"].size if end_point == "Logits" else 0)

    def run(variables, snippets):
        (out,) = model.apply(variables, snippets)
        return jax.nn.softmax(out) if end_point == "Logits" else out.mean(axis=(1, 2, 3))

    return functools.partial(jax.jit(run), variables)


def _features(config, path, stream, run):
    """Features (T, 1024) of one stream of a video, read snippet by snippet."""
    e, rows = config.extract, []
    frames = (_view(frame, e.short_side_pixels, e.crop_pixels) for frame in video.read_frames(path))
    if stream == "flow":
        frames = video.flows(frames)
    for batch in chunks(snippets(frames, config.data.snippet_frames, config.data.stride_frames), e.batch_size):
        full = itertools.islice(itertools.chain(batch, itertools.repeat(batch[-1])), e.batch_size)  # one compiled size
        rows.append(np.asarray(run(np.stack(list(full))))[: len(batch)])
    return np.concatenate(rows)


def snippets(frames, snippet_frames, stride_frames):
    """Arrays of `snippet_frames` consecutive frames, `stride_frames` apart; a short video has its last frame repeated."""
    window, count = collections.deque(maxlen=snippet_frames), 0
    for count, frame in enumerate(frames, 1):
        window.append(frame)
        if count >= snippet_frames and (count - snippet_frames) % stride_frames == 0:
            yield np.stack(window)
    if 0 < count < snippet_frames:
        yield np.stack([*window, *[window[-1]] * (snippet_frames - count)])


def _view(frame, short_side_pixels, crop_pixels):
    """(H, W, 3) -> (crop, crop, 3): the centre, after the shorter side was made `short_side_pixels` long."""
    scale = short_side_pixels / min(frame.shape[:2])
    height, width = (max(round(size * scale), crop_pixels) for size in frame.shape[:2])
    if (height, width) != frame.shape[:2]:
        frame = video.resize(frame, height, width)
    top, left = (height - crop_pixels) // 2, (width - crop_pixels) // 2
    return frame[top : top + crop_pixels, left : left + crop_pixels]
