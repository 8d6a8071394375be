"""What `config.window.background` is for: false alarms with and without training windows that hold no action.

    python -m benchmarks.background [--seeds=1,2,3] [--shares=0,0.1] [--unlabelled=walking] \
      [--fields=train.epochs=10,…] [--out=runs/background]

SBHAR's annotations lose a class, so that there are stretches without any action: with walking 68 of 567
training windows hold none. The detector is that of `make demo` with windows of 256 frames (51 s), one for
each share and seed; --fields sets more.

Prints of the test recordings, for each share, the mean over the seeds of: mAP over tIoU 0.3 to 0.7; false
alarms an hour, which are detections above a score of 0.2 whose best tIoU with an action of their class is
below 0.3; and how many of these touch no action at all. Runs that are finished are not trained again.
"""

import json

import numpy as np

from benchmarks import training
from tal_jax.data.annotations import load_annotations
from tal_jax.data.detections_file import read_detections
from tal_jax.data.sets import sbhar
from tal_jax.ops.segments import tiou

MIN_SCORE, MIN_TIOU = 0.2, 0.3
WINDOWS = (
    "window.frames=256",
    "window.train_stride_frames=128",
    "window.test_stride_frames=128",
    "augment.jitter_frames=64",
)


def write_annotations(path, unlabelled):
    """Writes SBHAR's annotations without the actions of one class."""
    content = json.loads((sbhar.FILES / "annotations.json").read_text())
    content["classes"] = [name for name in content["classes"] if name != unlabelled]
    for entry in content["database"].values():
        entry["annotations"] = [row for row in entry["annotations"] if row["label"] != unlabelled]
    path.write_text(json.dumps(content))


def false_alarms_per_hour(annotations, detections):
    """(2,) in 1/h: false alarms of the test recordings, and those that touch no action."""
    counts, seconds = np.zeros(2), 0.0
    for name, recording in annotations.subset("test").recordings.items():
        seconds += recording.duration_sec
        found = [d for d in detections.get(name, ()) if d["score"] > MIN_SCORE]
        if not found:
            continue
        labels = np.array([annotations.classes.index(d["label"]) for d in found])
        overlaps = tiou(np.array([d["segment"] for d in found])[:, None], recording.segments_sec)
        of_class = np.where(labels[:, None] == recording.labels, overlaps, 0).max(axis=1, initial=0)
        counts += np.sum(of_class < MIN_TIOU), np.sum(overlaps.max(axis=1, initial=0) == 0)
    return counts * 3600 / seconds


def main():
    """Trains what is missing, prints the table."""
    parser = training.parser(__doc__, "runs/background")
    training.add_fields(parser)
    parser.add_argument("--shares", default="0,0.1")
    parser.add_argument("--unlabelled", default="walking", help="a class of SBHAR")
    options = parser.parse_args()
    out = options.out / options.unlabelled
    out.mkdir(parents=True, exist_ok=True)
    file = out / "annotations.json"
    write_annotations(file, options.unlabelled)
    annotations = load_annotations(file)
    columns = "share of windows without action | mAP | false alarms an hour | of them touching no action"
    lines = [f"| {columns} |", "|---" * 4 + "|"]
    for share in options.shares.split(","):
        rows = []
        fields = [f"window.background={float(share)}", *WINDOWS]
        for workdir, _ in training.demos(options, out / f"share_{share}_seed", file, fields):
            score = json.loads((workdir / "evaluation.json").read_text())["map_avg"]
            detections = read_detections(workdir / "detections.json")
            rows.append((score, *false_alarms_per_hour(annotations, detections)))
        lines.append(f"| {share} | {training.spread(rows)} |")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
