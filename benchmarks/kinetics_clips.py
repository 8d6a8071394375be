"""configs/kinetics.py on real clips that are joined: is each action found, with its class first, and when?

    python -m benchmarks.kinetics_clips --clips=FOLDER [--out=runs/kinetics_clips] [--config.FIELD=VALUE …]

FOLDER holds the clips of `benchmarks.real_clips`, which are no part of the project. Five show an action of
Kinetics-400; two, of a street and of a man in a car, show none. They are joined in five orders, at 25 frames
a second and 320 x 240 pixels, and `--mode=predict` looks at each. Prints, for each order, of each action the
best detection over it: its class, tIoU and score; and how many detections above `config.predict.min_score`
lie over the other two.
"""

import json
import pathlib
import subprocess
import sys

import numpy as np

from benchmarks import real_clips
from benchmarks.measure import end_with_sentence, parser
from benchmarks.real_clips import CLIPS, ORDERS
from tal_jax.ops.segments import tiou


def judge(places, detections, min_score):
    """Finds the best detection over each clip of a joined video, and those over clips without an action.

    Args:
      places: {name of a clip: [start_sec, end_sec]}.
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
    real_clips.require(options.clips)
    right = exact = over_others = 0
    print("| order | clip | class | tIoU | score |\n|---|---|---|---|---|")
    for number, order in enumerate(ORDERS[: options.orders], 1):
        video = out / "videos" / f"order_{number}.mp4"
        places = real_clips.join(options.clips, order, video)
        places = {name: [frame / real_clips.FPS for frame in place] for name, place in places.items()}
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
