"""--mode=extract: I3D features of videos, for every system that works on features."""

import collections
import dataclasses
import functools
import hashlib
import itertools
import logging
import pathlib
import threading

import jax
import numpy as np
from tqdm import tqdm

from tal_jax.backbones.i3d import I3D
from tal_jax.data import video
from tal_jax.data.frames import STREAMS
from tal_jax.data.loader import chunks
from tal_jax.data.made_of_videos import notes_of_made, require_same_settings, still_to_make
from tal_jax.data.names import VIDEO_SUFFIXES
from tal_jax.data.optical_flow import flows
from tal_jax.errors import DataError
from tal_jax.published.i3d import backbone_variables, recognise
from tal_jax.published.weight_files import read_weights
from tal_jax.runtime import distributed
from tal_jax.runtime.beam import reason_of_failure, run_in_beam
from tal_jax.runtime.files import list_files, replacing

log = logging.getLogger(__name__)

# end point -> of a snippet: one step of Mixed_5c, and the two that Logits averages
FEWEST_FRAMES = {"Mixed_5c": 8, "Logits": 9}
# What of a frame is seen, as the authors of I3D test it: the shorter side is made so long, and the centre cut
# out.
PICTURE = {"short_side_pixels": 256, "crop_pixels": 224}
_building = threading.Lock()  # the threads of a Beam worker share the networks


@dataclasses.dataclass(frozen=True)
class Extraction:
    """What a worker has to know to make the features of a video; the networks it builds itself."""

    folder: str
    weights: tuple  # of (stream, file)
    end_point: str
    snippet_frames: int
    stride_frames: int
    short_side_pixels: int
    crop_pixels: int
    batch_size: int


def extract(config, workdir, source):
    """Writes NAME.npy (T, 1024 a stream) float32 for each video, RGB first: Mixed_5c, averaged over a
    snippet's time and space.

    With `config.extract.end_point` = "Logits": the probabilities of the classes that I3D was trained for, (T,
    400 a stream) of Kinetics-400. Snippets have `config.data.snippet_frames` frames of the video's own rate
    and begin `config.data.stride_frames` apart. settings.json and info/NAME.json beside them say so, with the
    video's rate, to whoever reads the features. They go to `config.data.features`, or to <workdir>/features
    where that is not set. Files that are there stay; a folder of features that were made otherwise is
    refused. One run at a time writes to a folder; its processes share the videos, or with
    `config.extract.beam` the workers of an Apache Beam pipeline do.

    Args:
      config: the run's config (`data`, `extract`).
      workdir: see above.
      source: a video or a folder of them.

    Raises:
      DataError: no video, no weights; at the end, if some videos could not be read.
    """
    if "extract" not in config:
        raise DataError(
            f"The config {config.name} is not of features that come from videos; extract with another one, "
            f"for example "
            "--config=configs/folder.py."
        )
    end_point = config.extract.end_point
    if end_point not in FEWEST_FRAMES:
        raise DataError(
            f"config.extract.end_point is '{end_point}'; it must be one of {', '.join(FEWEST_FRAMES)}."
        )
    if config.extract.beam_options and not config.extract.beam:
        raise DataError("config.extract.beam_options needs config.extract.beam=True.")
    if config.extract.beam and distributed.count() > 1:
        raise DataError("config.extract.beam spreads the videos by itself; start one process.")
    paths = _videos(source)
    if config.data.snippet_frames < FEWEST_FRAMES[end_point]:
        raise DataError(
            f"config.data.snippet_frames is {config.data.snippet_frames}; {end_point} of I3D needs at least "
            f"{FEWEST_FRAMES[end_point]} "
            "frames (the shared features have 16)."
        )
    if config.data.stride_frames < 1:
        raise DataError(
            f"config.data.stride_frames is {config.data.stride_frames}; say how many frames apart snippets "
            f"begin, for example 16."
        )
    weights = {
        stream: config.extract[f"{stream}_weights"]
        for stream in STREAMS
        if config.extract[f"{stream}_weights"]
    }
    if not weights:
        raise DataError(
            "Say which weights: --config.extract.rgb_weights=FILE, --config.extract.flow_weights=FILE, or "
            "both."
        )
    folder = pathlib.Path(config.data.features or pathlib.Path(workdir) / "features")
    timing = dict(stride_frames=config.data.stride_frames, snippet_frames=config.data.snippet_frames)
    settings = Extraction(
        folder=str(folder.absolute()),
        weights=tuple((stream, str(pathlib.Path(path).absolute())) for stream, path in weights.items()),
        end_point=end_point,
        **timing,
        **PICTURE,
        batch_size=config.extract.batch_size,
    )
    _networks(settings)  # raises DataError now, not once a video
    field = "--config.data.features"
    with distributed.only_run(folder, "--mode=extract", below=("info",), choose=field):
        if distributed.is_first():
            settings_of_folder = timing | {"end_point": end_point} | PICTURE
            for stream, path in weights.items():
                settings_of_folder |= {stream: pathlib.Path(path).name, f"{stream}_sha256": _sha256(path)}
            require_same_settings(folder, settings_of_folder, "features", field)
        distributed.wait()
        reasons = _reasons(config, settings, paths)
    failed = [reason for _, reason in sorted(reasons.items()) if reason]
    for name, notes in notes_of_made(reasons, functools.partial(_info_file, settings)).items():
        log.warning("%s: %s.", name, notes)
    for reason in failed:
        log.error("%s", reason)
    log.info("Features are in %s.", folder)
    if failed:
        raise DataError(f"{len(failed)} of {len(paths)} videos could not be read, see above.")


def _reasons(config, settings, paths):
    """Makes the features that are not there yet: {video: why they could not be made, "" if they could}."""
    job = functools.partial(_reason, settings=settings)
    own = paths[distributed.index() :: distributed.count()]
    waiting = still_to_make(own, lambda path: [_file(settings, path)])
    if config.extract.beam:
        log.info(
            "%d of %d videos are there already; %d to do.", len(own) - len(waiting), len(own), len(waiting)
        )
        return run_in_beam(job, waiting, pathlib.Path(settings.folder) / "beam", config.extract.beam_options)
    progress = tqdm(
        waiting,
        total=len(own),
        initial=len(own) - len(waiting),
        unit="video",
        disable=not distributed.is_first(),
    )
    parts = distributed.gather({str(path): job(path) for path in progress})
    return dict(itertools.chain.from_iterable(part.items() for part in parts))


def _reason(path, settings):
    """Why a video's features could not be made, "" if they are there."""
    return reason_of_failure(path, lambda: _write_features(path, settings))


def _write_features(path, settings):
    """Makes the files of a video, unless they are there."""
    if _file(settings, path).exists():
        return
    reading = video.Reading(path)
    features = [_features(settings, reading, stream, run) for stream, run in _networks(settings).items()]
    video.write_info(_info_file(settings, path), reading.info.fps, reading)
    with replacing(_file(settings, path)) as temporary, temporary.open("wb") as out:
        np.save(out, np.concatenate(features, axis=1))


def _file(settings, path):
    """The feature file of a video. Raises DataError for a name that no recording can have."""
    return pathlib.Path(settings.folder) / f"{video.stored_name(path)}.npy"


def _info_file(settings, path):
    """What `video.write_info` writes beside it."""
    return pathlib.Path(settings.folder) / "info" / f"{video.stored_name(path)}.json"


def _networks(settings):
    """dict stream -> network, built once in a process."""
    with _building:
        return {stream: _network(file, stream, settings.end_point) for stream, file in settings.weights}


def _sha256(path):
    """The digest of a file's content, by which weights are told apart wherever they lie."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _videos(source):
    path = pathlib.Path(source)
    if not source or not (path.is_dir() or path.is_file()):
        raise DataError(f"--input={source} is neither a video nor a folder of videos.")
    if path.is_file():
        return [path]
    if left_out := list_files(path, VIDEO_SUFFIXES)[1]:
        log.warning("%s", left_out)
    return video.find_videos(path)[0]


@functools.cache
def _network(path, stream, end_point):
    """Compiled function: snippets (B, T, H, W, C) uint8 -> (B, 1024), or (B, classes) for "Logits"."""
    if not pathlib.Path(path).exists():
        raise DataError(
            f"config.extract.{stream}_weights names {path}, which does not exist; tal_jax.convert writes it "
            f"(docs/data.md)."
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


def _features(settings, reading, stream, run):
    """Features (T, 1024) of one stream of a video, read snippet by snippet."""
    rows, size = [], settings.batch_size
    crop = functools.partial(
        cropped, short_side_pixels=settings.short_side_pixels, crop_pixels=settings.crop_pixels
    )
    frames = video.each_once(crop, (frame for _, frame in reading.frames(reading.info.fps)))
    if stream == "flow":
        frames = flows(frames)
    for batch in chunks(snippets(frames, settings.snippet_frames, settings.stride_frames), size):
        # one compiled size
        full = itertools.islice(itertools.chain(batch, itertools.repeat(batch[-1])), size)
        rows.append(np.asarray(run(np.stack(list(full))))[: len(batch)])
    return np.concatenate(rows)


def snippets(frames, snippet_frames, stride_frames):
    """Arrays of `snippet_frames` consecutive frames, `stride_frames` apart; a short video has its last frame
    repeated.
    """
    window, count = collections.deque(maxlen=snippet_frames), 0
    for count, frame in enumerate(frames, 1):
        window.append(frame)
        if count >= snippet_frames and (count - snippet_frames) % stride_frames == 0:
            yield np.stack(window)
    if 0 < count < snippet_frames:
        yield np.stack([*window, *[window[-1]] * (snippet_frames - count)])


def cropped(frame, short_side_pixels, crop_pixels):
    """(H, W, 3) -> (crop, crop, 3): the centre, after the shorter side was made `short_side_pixels` long."""
    scale = short_side_pixels / min(frame.shape[:2])
    height, width = (max(round(size * scale), crop_pixels) for size in frame.shape[:2])
    if (height, width) != frame.shape[:2]:
        frame = video.resize(frame, height, width)
    top, left = (height - crop_pixels) // 2, (width - crop_pixels) // 2
    return frame[top : top + crop_pixels, left : left + crop_pixels]
