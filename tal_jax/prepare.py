"""Turns a folder of videos into training data: small frames and, where asked for, their optical flow.

    python -m tal_jax.prepare --dataset=thumos14 --videos=DIR --out=OUT [--flow] [--workers=N]

    OUT/rgb/NAME.npy    (T, 112, 112, 3) uint8, RGB; NAME is the stem of the video's file
    OUT/flow/NAME.npy   (T, 112, 112, 2) uint8, see `optical_flow.optical_flow`; with --flow
    OUT/info/NAME.json  {"fps": of the T frames, "num_frames": T,
                         "times_sec": when the picture in each came on the screen,
                         "duration_sec": and "source_fps": of the video,
                         "notes": what was uncommon about it, "sampling": below}

Frame i is the picture that is on the screen at i/fps seconds: one that stays is repeated, and so is the last
one before a gap. --sampling=count keeps every so many-th picture instead, as published frames were made. Its
times are true, to 0.1 s, only for videos whose pictures come at even times.

A file is written whole or not at all, and a file that exists is not made again: after a kill the same command
goes on where it was. One run at a time writes to an OUT. A video that cannot be decoded, or that crashes the
decoder, costs only itself.
"""

import functools
import multiprocessing.pool
import os
import pathlib
import signal
import sys
import threading
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor

import absl.logging
import cv2
import numpy as np
from absl import app, flags
from tqdm import tqdm

from tal_jax.data import video
from tal_jax.data.annotations import load_annotations
from tal_jax.data.made_of_videos import require_same_settings
from tal_jax.data.optical_flow import optical_flow
from tal_jax.data.sets import thumos14
from tal_jax.data.video_jobs import find_videos, first_few, for_every_video
from tal_jax.errors import DataError, plain, sentence_of
from tal_jax.runtime.beam import run_in_beam
from tal_jax.runtime.files import only_run

# data set -> `fps` of `video.store_video`
SAMPLED_FPS = {"thumos14": 10.0, "activitynet": 0.0, "folder": 10.0}
SAMPLINGS = ("time", "count")

_FLAGS = (  # the arguments of `prepare`
    flags.DEFINE_enum("dataset", None, SAMPLED_FPS, "activitynet: at most 768 frames; others: 10 a second."),
    flags.DEFINE_string("videos", None, "Folder of the videos."),
    flags.DEFINE_string("out", None, "Folder to write to."),
    flags.DEFINE_string("annotations", "", "Annotation file, to name missing videos; thumos14 has its own."),
    flags.DEFINE_bool("flow", False, "Make TV-L1 optical flow too."),
    flags.DEFINE_integer("workers", os.cpu_count(), "Processes.", lower_bound=1),
    flags.DEFINE_integer("frame_pixels", 112, "Height and width of the frames, in pixels.", lower_bound=1),
    flags.DEFINE_enum("sampling", "time", SAMPLINGS, "time: by the time stamps; count: as published frames."),
    flags.DEFINE_bool("beam", False, "Run as an Apache Beam pipeline instead of --workers processes."),
    flags.DEFINE_string("beam_options", "", "Options of the pipeline; without --runner it runs here."),
)


def prepare(
    dataset,
    videos,
    out,
    annotations="",
    flow=False,
    workers=1,
    frame_pixels=112,
    sampling="time",
    beam=False,
    beam_options="",
):
    """Prepares every video of a folder and prints what is missing, left out and could not be done.

    Args:
        dataset: key of `SAMPLED_FPS`.
        videos, out: folders.
        annotations: annotation file that names the videos to expect; "": the data set's own, if it has one.
        flow: whether to make optical flow.
        workers: processes.
        frame_pixels: height and width of the frames in pixels.
        sampling: see `video.store_video`.
        beam: whether to run an Apache Beam pipeline instead of `workers` processes.
        beam_options: options of the pipeline.

    Returns:
        dict path -> reason, of the videos that could not be decoded.

    Raises:
        DataError: nothing can be done: no videos, two of one name, `out` holds other frames, or flow or Beam
            is not installed.
    """
    if beam_options and not beam:
        raise DataError("--beam_options needs --beam.")
    if pathlib.Path(videos).exists() and not pathlib.Path(videos).is_dir():
        raise DataError(f"--videos={videos} is a file; name the folder that it lies in.")
    paths, left_out = find_videos(videos)
    for sentence in left_out:
        print(sentence)
    if annotations:
        _print_missing(paths, dataset, load_annotations(annotations).recordings)
    elif dataset == "thumos14":
        _print_missing(paths, dataset, thumos14.bundled_annotations().recordings)
    if flow:
        optical_flow(*np.zeros((2, 16, 16, 3), np.uint8))  # raises DataError now, not once a video
    settings = dict(frame_pixels=frame_pixels, fps=SAMPLED_FPS[dataset], sampling=sampling)
    out = pathlib.Path(out).absolute()
    run = functools.partial(_run_in_processes, workers=workers, total=len(paths))
    if beam:
        run = functools.partial(run_in_beam, folder=out / "beam", options=beam_options)
    make = functools.partial(_store, out=out, flow=flow, **settings)
    with only_run(out, "tal_jax.prepare", below=("rgb", "info", "flow"), choose="--out"):
        require_same_settings(out, settings, "frames", "--out", before={"sampling": "count"})
        failed, notes = for_every_video(
            paths, make, lambda path: video.stored_files(out, path)[: 3 if flow else 2], out, run
        )
    for name, said in (notes | {pathlib.Path(path).name: reason for path, reason in failed.items()}).items():
        print(plain(f"  {name}: {said}"))
    done = f"All {len(paths)} videos are in {out}."
    print(f"{len(failed)} video(s) could not be prepared, see above." if failed else done)
    return failed


def _print_missing(paths, dataset, names):
    """Says which annotated videos lack a file. ActivityNet's names come with and without "v_"."""
    prefix = "v_" if dataset == "activitynet" else ""
    there = {path.stem.removeprefix(prefix) for path in paths}
    missing = [name for name in names if name.removeprefix(prefix) not in there]
    listed = f": {first_few(missing)}" if missing else ""
    print(f"{len(missing)} of the {len(names)} annotated videos are missing{listed}.")


def _store(path, **settings):
    """`video.store_video`, with one thread for OpenCV, because each core has a process of its own."""
    cv2.setNumThreads(1)
    video.store_video(path, **settings)


def _run_in_processes(job, paths, workers, total):
    """{path: job(path)}, with a progress bar that counts the `total` videos, done before and now."""
    with multiprocessing.pool.ThreadPool(workers) as threads:
        pairs = threads.imap_unordered(functools.partial(_run_in_own_process, job), paths)
        done = total - len(paths)
        return dict(tqdm(pairs, total=total, initial=done, unit="video", dynamic_ncols=True))


_own = threading.local()


def _run_in_own_process(job, path):
    """(path, job(path)) from the process that this thread keeps. A crash there names its video and ends no
    other work.
    """
    if not hasattr(_own, "process"):
        spawn = multiprocessing.get_context("spawn")
        _own.process = ProcessPoolExecutor(1, spawn, initializer=_start_worker)
        # the process inherits it, and lifts it when it is set up
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return str(path), _own.process.submit(job, path).result()
    except BrokenProcessPool:
        del _own.process
        return str(path), f"The video {path} crashed the decoder."


def _start_worker():
    """Makes a worker silent at Ctrl-C, and lets it end with its parent, even with one that was killed."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    wait = multiprocessing.parent_process().join
    threading.Thread(target=lambda: os._exit(wait() or 1), daemon=True).start()


def main(_):
    """Prepares the videos. What the user can correct is a sentence, with exit code 1."""
    try:
        for flag in _FLAGS[:3]:
            if not flag.value:
                raise DataError(f"say --{flag.name}: --dataset=thumos14 --videos=DIR --out=DIR.")
        sys.exit(bool(prepare(**{flag.name: flag.value for flag in _FLAGS})))
    except (DataError, OSError) as error:
        sys.exit(f"Error: {sentence_of(error)}")
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on where it was.")


def _parse(argv):
    """Parses the flags; a misspelt one is a sentence, with exit code 1."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise flags.Error(f"unknown argument '{rest[1]}'.")
        return rest
    except SystemExit:  # after --help and the like, for which absl has 1
        sys.exit(0)
    except flags.Error as error:
        sys.exit(f"Error: {sentence_of(error)}")


if __name__ == "__main__":
    absl.logging.set_verbosity(absl.logging.ERROR)  # Beam's
    app.run(main, flags_parser=_parse)
