"""Turns a folder of videos into training data: small frames and, where asked for, their optical flow.

    python -m tal_jax.prepare --dataset=thumos14 --videos=DIR --out=OUT [--flow] [--workers=N]

    OUT/rgb/NAME.npy    (T, 112, 112, 3) uint8, RGB; NAME is the stem of the video's file
    OUT/flow/NAME.npy   (T, 112, 112, 2) uint8, see `optical_flow.optical_flow`; with --flow
    OUT/info/NAME.json  {"fps": of the T frames, "num_frames": T, "times_sec": when the picture in each came
    on the screen,
                         "duration_sec": and "source_fps": of the video, "notes": what was uncommon about it,
                         "sampling": below}

Frame i is the picture that is on the screen at i/fps seconds: one that stays is repeated, and so is the last
one before a gap. --sampling=count keeps every so many-th picture instead, as published frames were made;
their times are true of videos alone whose pictures come at even times, and then by 0.1 s.

A file is there whole or not at all, and what is there is not made again: after a kill the same command goes
on where it was. One run at a time writes to an OUT. A video that cannot be decoded, or that crashes the
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
from tal_jax.data.made_of_videos import notes_of_made, require_same_settings, still_to_make
from tal_jax.data.names import VIDEO_SUFFIXES
from tal_jax.data.optical_flow import optical_flow
from tal_jax.data.sets import thumos14
from tal_jax.errors import DataError, plain, sentence_of
from tal_jax.runtime.beam import reason_of_failure, run_in_beam
from tal_jax.runtime.files import list_files, only_run

# data set -> `fps` of `video.store_video`
SAMPLED_FPS = {"thumos14": 10.0, "activitynet": 0.0, "folder": 10.0}

_DATASET = flags.DEFINE_enum(
    "dataset", None, list(SAMPLED_FPS), "activitynet: at most 768 frames a video; others: 10 a second."
)
_VIDEOS = flags.DEFINE_string("videos", None, "Folder of the videos.")
_OUT = flags.DEFINE_string("out", None, "Folder to write to.")
_ANNOTATIONS = flags.DEFINE_string(
    "annotations", "", "Annotation file, to say which videos are missing; thumos14 has its own."
)
_FLOW = flags.DEFINE_bool("flow", False, "Make TV-L1 optical flow too.")
_WORKERS = flags.DEFINE_integer("workers", os.cpu_count(), "Processes.", lower_bound=1)
_FRAME_PIXELS = flags.DEFINE_integer(
    "frame_pixels", 112, "Height and width of the frames, in pixels.", lower_bound=1
)
_SAMPLING = flags.DEFINE_enum(
    "sampling", "time", video.SAMPLINGS, "time: by the time stamps; count: as published frames."
)
_BEAM = flags.DEFINE_bool("beam", False, "Run as an Apache Beam pipeline instead of --workers processes.")
_BEAM_OPTIONS = flags.DEFINE_string(
    "beam_options", "", "Options of the pipeline; without --runner it runs on this machine."
)


def prepare(
    dataset,
    videos,
    out,
    annotations="",
    flow=False,
    workers=1,
    frame_pixels=112,
    beam_options=None,
    sampling="time",
):
    """Prepares every video of a folder and prints what is missing, left out and could not be done.

    Args:
        dataset: key of `SAMPLED_FPS`.
        videos, out: folders.
        annotations: annotation file that names the videos to expect; "": the data set's own, if it has one.
        flow: whether to make optical flow.
        workers: processes.
        frame_pixels: height and width of the frames in pixels.
        beam_options: options of an Apache Beam pipeline to run instead of `workers` processes; None: no Beam.
        sampling: see `video.store_video`.

    Returns:
        dict path -> reason, of the videos that could not be decoded.

    Raises:
        DataError: nothing can be done: no videos, two of one name, `out` holds other frames, or flow or Beam
            is not installed.
    """
    if pathlib.Path(videos).exists() and not pathlib.Path(videos).is_dir():
        raise DataError(f"--videos={videos} is a file; name the folder that it lies in.")
    if left_out := list_files(videos, VIDEO_SUFFIXES)[1]:
        print(left_out)
    paths, others = video.find_videos(videos)
    if others:
        print(f"{len(others)} file(s) are no videos and are left out: {_some(others)}.")
    _print_missing(paths, dataset, annotations)
    if flow:
        optical_flow(*np.zeros((2, 16, 16, 3), np.uint8))  # raises DataError now, not once a video
    settings = dict(frame_pixels=frame_pixels, fps=SAMPLED_FPS[dataset], sampling=sampling)
    out = pathlib.Path(out).absolute()
    with only_run(out, "tal_jax.prepare", below=("rgb", "info", "flow"), choose="--out"):
        require_same_settings(out, settings, "frames", "--out", before={"sampling": "count"})
        waiting = still_to_make(paths, lambda path: video.stored_files(out, path, flow))
        print(
            f"{len(paths) - len(waiting)} of {len(paths)} videos are there already; {len(waiting)} to do.",
            flush=True,
        )
        job = functools.partial(_reason, out=out, flow=flow, **settings)
        if beam_options is not None:
            reasons = run_in_beam(job, waiting, out / "beam", beam_options)
        else:
            reasons = _run_in_processes(job, waiting, workers, len(paths))
    failed = {path: reason for path, reason in sorted(reasons.items()) if reason}
    notes = notes_of_made(reasons, lambda path: video.stored_files(out, path, flow)[1])
    for name, said in (notes | {pathlib.Path(path).name: reason for path, reason in failed.items()}).items():
        print(plain(f"  {name}: {said}"))
    print(
        f"{len(failed)} video(s) could not be prepared, see above."
        if failed
        else f"All {len(paths)} videos are in {out}."
    )
    return failed


def _print_missing(paths, dataset, annotations):
    """Says which videos of the annotations are not in the folder. ActivityNet's names come with and without
    "v_".
    """
    if not annotations and dataset != "thumos14":
        return
    names = (load_annotations(annotations) if annotations else thumos14.bundled_annotations()).recordings
    prefix = "v_" if dataset == "activitynet" else ""
    there = {path.stem.removeprefix(prefix) for path in paths}
    missing = [name for name in names if name.removeprefix(prefix) not in there]
    print(
        f"{len(missing)} of the {len(names)} annotated videos are "
        f"missing{missing and ': ' + _some(missing) or ''}."
    )


def _some(names, most=10):
    """The first few of many names, for a message."""
    return plain(", ".join(names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def _reason(path, **settings):
    """Why a video could not be prepared, "" if it could. OpenCV takes one thread, for there is a process on
    each core.
    """
    cv2.setNumThreads(1)
    return reason_of_failure(path, functools.partial(video.store_video, path, **settings))


def _run_in_processes(job, paths, workers, total):
    """{path: job(path)}, with a progress bar that counts the `total` videos, done before and now."""
    reasons = {}
    with multiprocessing.pool.ThreadPool(workers) as threads:
        pairs = threads.imap_unordered(functools.partial(_run_in_own_process, job), paths)
        for path, reason in tqdm(
            pairs, total=total, initial=total - len(paths), unit="video", dynamic_ncols=True
        ):
            reasons[str(path)] = reason
    return reasons


_own = threading.local()


def _run_in_own_process(job, path):
    """(path, job(path)) from the process that this thread keeps: a crash there names its video and ends no
    other's work.
    """
    if not hasattr(_own, "process"):
        spawn = multiprocessing.get_context("spawn")
        _own.process = ProcessPoolExecutor(1, spawn, initializer=_start_worker)
        # the process inherits it, and lifts it when it is set up
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return path, _own.process.submit(job, path).result()
    except BrokenProcessPool:
        del _own.process
        return path, f"The video {path} crashed the decoder."


def _start_worker():
    """Silence at Ctrl-C, and an end with the parent, even one that was killed."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not under nohup
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(
        target=lambda: os._exit(multiprocessing.parent_process().join() or 1), daemon=True
    ).start()


def main(_):
    """Prepares the videos; a sentence and exit code 1 for what the user can mend."""
    try:
        for flag in (_DATASET, _VIDEOS, _OUT):
            if not flag.value:
                raise DataError(f"say --{flag.name}: --dataset=thumos14 --videos=DIR --out=DIR.")
        settings = dict(
            annotations=_ANNOTATIONS.value,
            flow=_FLOW.value,
            workers=_WORKERS.value,
            frame_pixels=_FRAME_PIXELS.value,
            sampling=_SAMPLING.value,
        )
        if _BEAM_OPTIONS.value and not _BEAM.value:
            raise DataError("--beam_options needs --beam.")
        beam_options = _BEAM_OPTIONS.value if _BEAM.value else None
        sys.exit(
            bool(prepare(_DATASET.value, _VIDEOS.value, _OUT.value, **settings, beam_options=beam_options))
        )
    except (DataError, OSError) as error:
        sys.exit(f"Error: {sentence_of(error)}")
    except KeyboardInterrupt:
        sys.exit("Stopped; the same command goes on where it was.")


def _parse(argv):
    """Flags, with a sentence for a misspelt one."""
    try:
        rest = flags.FLAGS(argv)
        if len(rest) > 1:
            raise flags.Error(f"unknown argument '{rest[1]}'.")
    except SystemExit:  # behind --help and its kin, for which absl has 1
        sys.exit(0)
    except flags.Error as error:
        sys.exit(f"Error: {sentence_of(error)}")
    return rest


if __name__ == "__main__":
    absl.logging.set_verbosity(absl.logging.ERROR)  # Beam's
    app.run(main, flags_parser=_parse)
