"""configs/kinetics.py on real clips that are joined: is each action found, with its class first, and when?

    python -m benchmarks.kinetics_clips --clips=FOLDER [--out=runs/kinetics_clips] [--config.FIELD=VALUE …]

FOLDER holds the clips that `CLIPS` names. Five show an action of Kinetics-400; two, of a street and of a man
in a car, show none. They are joined in five orders, at 25 frames a second and 320 x 240 pixels, and
`--mode=predict` looks at each. Prints, for each order, of each action the best detection over it: its class,
tIoU and score; and how many detections above `config.predict.min_score` lie over the other two.
"""

import json
import pathlib
import subprocess
import sys

import av
import cv2
import numpy as np

from benchmarks.measure import end_with_sentence, parser
from tal_jax.data.video import read_frames
from tal_jax.errors import DataError
from tal_jax.ops.segments import tiou
from tal_jax.runtime.files import replacing

FPS, HEIGHT, WIDTH = 25, 240, 320
CLIPS = {  # name -> file, class of Kinetics-400 or None
    "arm": ("mmaction2_demo.mp4", "arm wrestling"),
    "pool": ("mmaction2_test.mp4", "cleaning pool"),
    "cricket": ("v_CricketShot_g04_c01_rgb.gif", "playing cricket"),
    "basketball": ("mmaction2_test_video_structuralize.mp4", "shooting basketball"),
    "makeup": ("v_ApplyEyeMakeup_g01_c01.avi", "filling eyebrows"),
    "street": ("skv_bikes.mp4", None),
    "car": ("skv_carphone_pristine.mp4", None),
}
ORDERS = (
    "arm street pool cricket car basketball makeup",
    "makeup basketball street arm pool car cricket",
    "cricket car makeup arm street basketball pool",
    "pool makeup car basketball cricket street arm",
    "basketball car cricket pool street makeup arm",
)


def frames_of(path):
    """The frames of a clip at FPS, (HEIGHT, WIDTH, 3) uint8: scaled to fill the picture, the middle kept."""
    for frame in read_frames(path, FPS):
        scale = max(HEIGHT / frame.shape[0], WIDTH / frame.shape[1])
        height, width = (round(scale * size) for size in frame.shape[:2])
        frame = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        top, left = (height - HEIGHT) // 2, (width - WIDTH) // 2
        yield np.ascontiguousarray(frame[top : top + HEIGHT, left : left + WIDTH])


def join(folder, order, target):
    """Writes the clips of an order, one after the other, as H.264. Returns {name: [start_sec, end_sec]}."""
    places, count = {}, 0
    with replacing(target) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        for name in order:
            start = count
            for frame in frames_of(pathlib.Path(folder) / CLIPS[name][0]):
                picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
                picture.pts, count = count, count + 1
                container.mux(stream.encode(picture))
            places[name] = [start / FPS, count / FPS]
        container.mux(stream.encode(None))
    return places


def judge(places, detections, min_score):
    """What the detections of one joined video say.

    Args:
      places: of `join`.
      detections: list of {"label", "segment", "score"}.
      min_score: those below are left out.

    Returns:
      ({name of an action: (label, tIoU, score) of the best detection over it}, those over the other clips). A
      detection is over the clip that it shares most time with. The best one is of the highest score.
    """
    best, others = {name: ("nothing", 0.0, 0.0) for name in places if CLIPS[name][1]}, []
    for found in sorted(detections, key=lambda found: -found["score"]):
        if found["score"] < min_score:
            continue
        start, end = found["segment"]
        shared = {name: min(end, place[1]) - max(start, place[0]) for name, place in places.items()}
        name = max(shared, key=shared.get)
        if CLIPS[name][1] is None:
            others.append((name, found["label"], found["score"]))
        elif best[name][0] == "nothing":
            overlap = float(tiou(np.array([start, end]), np.array(places[name])))
            best[name] = found["label"], overlap, found["score"]
    return best, others


def main():
    """Joins, detects, prints the table and its sums."""
    arguments = parser(__doc__)
    arguments.add_argument("--clips", required=True)
    arguments.add_argument("--out", default="runs/kinetics_clips")
    arguments.add_argument("--orders", default=len(ORDERS), type=int)
    arguments.add_argument("--min_score", default=0.5, type=float)
    options, fields = arguments.parse_known_args()
    out = pathlib.Path(options.out)
    lacking = [file for file, _ in CLIPS.values() if not (pathlib.Path(options.clips) / file).exists()]
    if lacking:
        raise DataError(f"--clips={options.clips} lacks {', '.join(lacking)}.")
    right = exact = over_others = 0
    print("| order | clip | class | tIoU | score |\n|---|---|---|---|---|")
    for number, order in enumerate(ORDERS[: options.orders], 1):
        video = out / "videos" / f"order_{number}.mp4"
        places = join(options.clips, order.split(), video)
        command = [sys.executable, "-m", "tal_jax.main", "--config=configs/kinetics.py", "--mode=predict"]
        command += [f"--config.predict.min_score={options.min_score}", f"--workdir={out}", *fields]
        subprocess.run([*command, f"--input={video}"], check=True, stdout=subprocess.DEVNULL)
        found = json.loads((out / "predictions" / f"order_{number}.json").read_text())["results"]
        best, others = judge(places, found[f"order_{number}"], options.min_score)
        for name, (label, overlap, score) in best.items():
            right, exact = right + (label == CLIPS[name][1]), exact + (overlap >= 0.7)
            print(f"| {number} | {name} | {label} | {overlap:.2f} | {score:.2f} |")
        for name, label, score in others:
            print(f"| {number} | {name} (none) | {label} | | {score:.2f} |", flush=True)
        over_others += len(others)
    total = 5 * min(options.orders, len(ORDERS))
    print(f"\nClass first: {right} of {total}. tIoU at least 0.7: {exact} of {total}.")
    print(f"Detections over the clips without an action: {over_others}.")


if __name__ == "__main__":
    end_with_sentence(main)
