"""--mode=extract: I3D features of videos, for every system that works on features."""

import collections
import functools
import hashlib
import logging
import pathlib
import threading

import jax
import numpy as np

from tal_jax import shots
from tal_jax.backbones.i3d import I3D
from tal_jax.data import video
from tal_jax.data.frames import STREAMS
from tal_jax.data.loader import chunks
from tal_jax.data.made_of_videos import require_same_settings
from tal_jax.data.optical_flow import flows
from tal_jax.data.video_jobs import for_every_video, run_in_share, videos_of
from tal_jax.data.video_snippets import PICTURE, cropped
from tal_jax.errors import DataError
from tal_jax.published import packages
from tal_jax.published.i3d import backbone_variables, recognise
from tal_jax.published.weight_files import read_weights
from tal_jax.runtime import distributed
from tal_jax.runtime.beam import run_in_beam
from tal_jax.runtime.files import replacing

log = logging.getLogger(__name__)

# end point -> frames of a snippet: one step of Mixed_5c, and the two that Logits averages
FEWEST_FRAMES = {"Mixed_5c": 8, "Logits": 9}
SNIPPETS_AT_ONCE = 4  # in one call of I3D
_building = threading.Lock()  # the threads of a Beam worker share the networks


def extract(config, workdir, source):
    """Writes NAME.npy (T, 1024 a stream) float32 for each video, RGB first: Mixed_5c of I3D, averaged over a
    snippet's time and space.

    With `config.extract.end_point` = "Logits": the probabilities of the classes that I3D was trained for, (T,
    400 a stream) of Kinetics-400. With `config.extract.cuts` one more channel, the last: the probability that
    a shot begins there, see `shots.channel`. Snippets have `config.data.snippet_frames` frames of the video's
    own rate and begin `config.data.stride_frames` apart. settings.json and info/NAME.json beside the features
    say so, with the video's rate. Features go to `config.data.features`, or to <workdir>/features where that
    is not set. Files that exist stay; a folder of features that were made otherwise is refused. One run at a
    time writes to a folder. Its processes share the videos; with options of Apache Beam in
    `config.extract.beam` the workers of its pipeline do.

    Args:
      config: the run's config (`data`, `extract`).
      workdir: the run's folder.
      source: a video or a folder of them.

    Raises:
      DataError: no video, no weights; at the end, if some videos could not be read.
    """
    _require_possible(config)
    weights = _weights_of_streams(config.extract.weights)
    paths = videos_of(source)
    _networks(weights, config.extract.end_point)  # raises DataError now, not once a video
    folder = pathlib.Path(config.data.features or pathlib.Path(workdir) / "features").absolute()
    settings = {name: config.data[name] for name in ("stride_frames", "snippet_frames")}
    settings["end_point"] = config.extract.end_point
    cuts = _weights_of_cuts(config.extract.cuts)
    make = functools.partial(_write_features, folder=folder, weights=weights, cuts=cuts, **settings)
    make = functools.partial(make, picture=PICTURE, batch_size=SNIPPETS_AT_ONCE)
    run, field = run_in_share, "--config.data.features"
    if config.extract.beam:
        run = functools.partial(run_in_beam, folder=folder / "beam", options=config.extract.beam)
    with distributed.only_run(folder, "--mode=extract", below=("info",), choose=field):
        if distributed.is_first():
            settings |= PICTURE
            for stream, file in weights.items():
                settings |= {stream: pathlib.Path(file).name, f"{stream}_sha256": _sha256(file)}
            if cuts:
                settings["cuts_sha256"] = _sha256(cuts)
            require_same_settings(folder, settings, "features", field)
        distributed.wait()
        failed, notes = for_every_video(
            paths, make, lambda path: [folder / f"{video.stored_name(path)}.npy"], folder, run, log.info
        )
    for name, said in notes.items():
        log.warning("%s: %s.", name, said)
    for reason in failed.values():
        log.error("%s", reason)
    log.info("Features are in %s.", folder)
    if failed:
        raise DataError(f"{len(failed)} of {len(paths)} videos could not be read, see above.")


def _require_possible(config):
    """Raises DataError for a config that extracts nothing."""
    if "extract" not in config:
        raise DataError(
            f"The config {config.name} is not of features that come from videos; extract with another one, "
            "for example --config=configs/folder.py."
        )
    end_point, num_frames = config.extract.end_point, config.data.snippet_frames
    if end_point not in FEWEST_FRAMES:
        raise DataError(
            f"config.extract.end_point is '{end_point}'; it must be one of {', '.join(FEWEST_FRAMES)}."
        )
    if config.extract.beam and distributed.count() > 1:
        raise DataError("config.extract.beam spreads the videos by itself; start one process.")
    if num_frames < FEWEST_FRAMES[end_point]:
        raise DataError(
            f"config.data.snippet_frames is {num_frames}; {end_point} of I3D needs at least "
            f"{FEWEST_FRAMES[end_point]} frames (the shared features have 16)."
        )
    if config.data.stride_frames < 1:
        raise DataError(
            f"config.data.stride_frames is {config.data.stride_frames}; say how many frames apart snippets "
            "begin, for example 16."
        )


def _weights_of_streams(files):
    """{stream: absolute path}, RGB first, of the files in `config.extract.weights`. Raises DataError for bad
    ones.
    """
    found = {}
    for file in files:
        if not pathlib.Path(file).exists():
            raise DataError(f"{_named(file)} does not exist; tal_jax.convert writes it (docs/data.md).")
        stream = recognise(read_weights(file), file)[1]
        if stream in found:
            raise DataError(
                f"config.extract.weights names {found[stream]} and {file}, both for {stream}; name one."
            )
        found[stream] = str(pathlib.Path(file).absolute())
    if not found:
        raise DataError("Say which weights: --config.extract.weights=FILE, or FILE,FILE for RGB and flow.")
    return {stream: found[stream] for stream in STREAMS if stream in found}


def _weights_of_cuts(said):
    """Absolute path of the weights that `config.extract.cuts` means, or "". Raises DataError for bad ones."""
    if not said:
        return ""
    shots.network(said, "config.extract.cuts")
    return str(packages.TRANSNET.path(said).absolute())


def _named(file):
    return f"config.extract.weights names {file}, which"


def _write_features(
    path, folder, weights, cuts, end_point, snippet_frames, stride_frames, picture, batch_size
):
    """Writes NAME.npy and info/NAME.json of a video, unless NAME.npy exists; see `extract`.

    Args:
      path: the video.
      folder: the folder to write to.
      weights: {stream: weight file}.
      cuts: file of TransNetV2, or "".
      end_point: of I3D.
      snippet_frames, stride_frames: frames of a snippet, and from one to the next.
      picture: `PICTURE`.
      batch_size: snippets at a time.
    """
    file = pathlib.Path(folder) / f"{video.stored_name(path)}.npy"
    if file.exists():
        return
    reading, streams = video.Reading(path), []
    crop = functools.partial(cropped, **picture)
    for stream, run in _networks(weights, end_point).items():
        frames = video.each_once(crop, (frame for _, frame in reading.frames(reading.info.fps)))
        if stream == "flow":
            frames = flows(frames)
        rows = []
        for batch in chunks(snippets(frames, snippet_frames, stride_frames), batch_size):
            full = np.stack([*batch, *[batch[-1]] * (batch_size - len(batch))])  # one compiled size
            rows.append(np.asarray(run(full))[: len(batch)])
        streams.append(np.concatenate(rows))
    if cuts:
        fps, count = reading.info.fps, len(streams[0])
        middle_sec, step_sec = snippet_frames / 2 / fps, stride_frames / fps
        found = shots.probabilities(path, cuts)
        streams.append(shots.channel(found, middle_sec, step_sec, count)[:, None])
    video.write_info(file.parent / "info" / f"{file.stem}.json", reading.info.fps, reading)
    with replacing(file) as temporary, temporary.open("wb") as out:
        np.save(out, np.concatenate(streams, axis=1))


def _networks(weights, end_point):
    """{stream: network} of the weight files {stream: path}; each is built once in a process."""
    with _building:
        return {stream: _network(file, end_point) for stream, file in weights.items()}


def _sha256(path):
    """The digest of a file's content, by which weights are told apart wherever they lie."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _network(path, end_point):
    """Compiled function: snippets (B, T, H, W, C) uint8 -> (B, 1024), or (B, classes) for "Logits"."""
    weights = read_weights(path)
    variables = jax.device_put(backbone_variables(weights, path))
    layer = variables["params"].get("logits")
    if end_point == "Logits" and layer is None:
        raise DataError(f"{_named(path)} has no classification layer.")
    model = I3D(outputs=(end_point,), num_classes=layer["bias"].size if end_point == "Logits" else 0)

    def run(variables, snippets):
        (out,) = model.apply(variables, snippets)
        return jax.nn.softmax(out) if end_point == "Logits" else out.mean(axis=(1, 2, 3))

    return functools.partial(jax.jit(run), variables)


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
