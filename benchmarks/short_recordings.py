"""How well short recordings are searched: pieces of SBHAR's recordings, given to --mode=predict as files of
their own.

    python -m benchmarks.short_recordings [--split=test|validation] [--seeds=1,2,3] \
      [--fields=train.epochs=48,…] [--out=runs/short_recordings]

A piece of 20, 40, 60 or 80 s of each recording begins at a third of it. Its truths are the actions of which
at least half is in it, clipped to it. The detector is that of `make demo`, or with --fields another, one for
each seed. With --split=validation it learns from three quarters of the training persons, and the others'
recordings are searched: for choices such as `config.augment.crop`, which must not be made on the test
recordings.

Prints mAP over tIoU 0.3 to 0.7 as a table of docs/results.md, whole recordings beside the pieces. Runs that
are finished are not trained again.
"""

import dataclasses
import shutil

import numpy as np

from benchmarks import training
from tal_jax.data.annotations import Annotations
from tal_jax.data.detections_file import read_detections
from tal_jax.data.sets import sbhar
from tal_jax.data.windows import cut_window
from tal_jax.evaluation.detection import evaluate_detections

SECONDS = (20, 40, 60, 80)
FPS = 50


def write_pieces(annotations, seconds, folder):
    """Writes the pieces of `seconds` of all test recordings, NAME_20s.npy (T, 6).

    Returns:
      Annotations of the pieces, subset "test".
    """
    pieces = {}
    for name, recording in annotations.subset("test").recordings.items():
        signal, first = sbhar.read_signal(name), round(recording.duration_sec / 3 * FPS)
        piece, key = signal[first : first + seconds * FPS], f"{name}_{seconds}s"
        np.save(folder / f"{key}.npy", piece)
        segments, labels = cut_window(recording.segments_sec * FPS, recording.labels, first, len(piece))
        pieces[key] = dataclasses.replace(
            recording, name=key, duration_sec=len(piece) / FPS, num_frames=None,
            segments_sec=segments / FPS, labels=labels,
        )  # fmt: skip
    return Annotations(annotations.classes, pieces)


def score(annotations, detections):
    """mAP over tIoU 0.3 to 0.7, in percent."""
    return evaluate_detections(annotations, detections, subset="test", tious=training.TIOUS)["map_avg"]


def main():
    """Trains what is missing, searches the pieces, prints the table."""
    parser = training.parser(__doc__, "runs/short_recordings")
    training.add_fields(parser)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    options = parser.parse_args()
    out = options.out / options.split
    folder, file = out / "pieces", out / "annotations.json"
    folder.mkdir(parents=True, exist_ok=True)
    if options.split == "test":
        shutil.copyfile(sbhar.FILES / "annotations.json", file)
    else:
        training.hold_out(file, training.persons()[::4])
    annotations = sbhar.load_annotations(file)
    pieces = {seconds: write_pieces(annotations, seconds, folder) for seconds in SECONDS}
    rows = []
    for workdir, fields in training.demos(options, out / "demo", file):
        training.run("demo", fields, workdir, "--mode=predict", f"--input={folder}")
        row = []
        for of_length in pieces.values():
            found = {}
            for name in of_length.recordings:
                found |= read_detections(workdir / "predictions" / f"{name}.json")
            row.append(score(of_length, found))
        rows.append([*row, score(annotations, read_detections(workdir / "detections.json"))])
        print(workdir.name, np.round(rows[-1], 2), flush=True)
    print(f"| {' | '.join(f'{seconds} s' for seconds in SECONDS)} | whole recordings |")
    print(f"{'|---' * (len(SECONDS) + 1)}|\n| {training.spread(rows)} |")


if __name__ == "__main__":
    main()
