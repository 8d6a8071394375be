"""From a few labels to a model: how many corrections of a model's own detections it takes on SBHAR.

    python -m benchmarks.corrections [--first=2] [--share=0.95] [--seed=0] [--out=runs/corrections]

A person labels `--first` training recordings. Then, round by round, `python -m tal_jax.main --config=folder`
plans and trains on what is labelled, detects in as many recordings again, and exports the detections for
Audacity; a simulated person corrects these files; `python -m tal_jax.annotations` adds them to the labels. It
ends when the mAP on the test persons is `--share` of that of a model that all training recordings taught.

Prints of each round the recordings and actions that are labelled, what the person has done for them, and the
mAP. The same command continues a study that was stopped.
"""

import collections
import json
import pathlib
import subprocess
import sys

import numpy as np
from scipy.optimize import linear_sum_assignment

from benchmarks import measure, training
from tal_jax.data.sets import sbhar
from tal_jax.ops.segments import tiou
from tal_jax.runtime.files import replacing

NEAR_SEC = 0.5  # of its true time: a person leaves a start or an end where it is
ENOUGH_TIOU = 0.3  # a person moves or renames what overlaps an action so much, and deletes what does not
WORK = ("moved", "relabelled", "added", "deleted")


def corrected(found, truth):
    """Corrects the detections of a recording as a person would, and counts what that takes.

    Each action goes with one detection, that of its own class before others.

    Args:
      found: list of (start_sec, end_sec, label).
      truth: list of the same, all actions.

    Returns:
      (list of (start_sec, end_sec, label), Counter of "kept" and of WORK). A label that is kept has the times
      of its detection, all others are as in `truth`.
    """
    done, labels = collections.Counter(), []
    times = lambda rows: np.array([row[:2] for row in rows], float).reshape(-1, 2)
    overlap = tiou(times(truth)[:, None], times(found)[None])
    same = np.array([[action[2] == row[2] for row in found] for action in truth]).reshape(overlap.shape)
    value = np.where(overlap >= ENOUGH_TIOU, overlap + same, 0.0)
    pairs = zip(*linear_sum_assignment(-value))
    partner = {action: row for action, row in pairs if value[action, row] > 0}
    for action, (start, end, label) in enumerate(truth):
        row = found[partner[action]] if action in partner else None
        near = row and max(abs(row[0] - start), abs(row[1] - end)) <= NEAR_SEC
        labels.append(row if near and row[2] == label else (start, end, label))
        if not row:
            done["added"] += 1
        elif row[2] != label:
            done["relabelled"] += 1
        else:
            done["kept" if near else "moved"] += 1
    done["deleted"] = len(found) - len(partner)
    return labels, done


def read_track(path):
    """The (start_sec, end_sec, label) of a label track of Audacity."""
    lines = [line.split("\t") for line in path.read_text().splitlines()]
    return [(float(start), float(end), label) for start, end, label in lines]


def write_track(path, labels):
    """Writes a label track of Audacity. labels: list of (start_sec, end_sec, label)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text("".join(f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in labels))


def teach(folder, kind, names, test):
    """Trains on the label tracks of some recordings and returns the mAP on the test recordings.

    Args:
      folder: of a round; it gets `annotations.json` and `run`.
      kind: "labels", or "truth": the folder beside it with the tracks of the training recordings.
      names: of these recordings.
      test: of the test recordings, whose tracks are in "truth".
    """
    tracks = [str(folder.parent / kind / f"{name}.txt") for name in names]
    tracks += [str(folder.parent / "truth" / f"{name}.txt") for name in test]
    annotations, signals = folder / "annotations.json", folder.parent / "signals"
    command = [sys.executable, "-m", "tal_jax.annotations", "--from", *tracks, f"--to={annotations}"]
    command += [f"--features={signals}", "--features_fps=50", f"--test={','.join(test)}"]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(command, check=True)
    scores = folder / "run" / "evaluation.json"
    if not scores.exists():
        training.run("", of_data(folder), folder / "run", config="folder")
    return json.loads(scores.read_text())["map_avg"]


def of_data(folder):
    """The list of FIELD=VALUE of a round."""
    files = f"data.annotations={folder / 'annotations.json'}", f"data.features={folder.parent / 'signals'}"
    return [*files, f"evaluate.tious={training.TIOUS}"]


def ask(folder, names):
    """Detects in recordings with the model of a round. Returns the detections: name -> list as `corrected`
    takes it.
    """
    for name in names:
        made = folder / "run" / "predictions" / f"{name}.txt"
        if not made.exists():
            source = f"--input={folder.parent / 'signals' / name}.npy"
            options = "--mode=predict", source, "--export=audacity"
            training.run("", of_data(folder), folder / "run", *options, config="folder")
    return {name: read_track(folder / "run" / "predictions" / f"{name}.txt") for name in names}


def main():
    """Goes on with the study, and prints its table."""
    parser = measure.parser(__doc__)
    parser.add_argument("--first", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.95)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default="runs/corrections")
    options = parser.parse_args()
    annotations = sbhar.bundled_annotations()
    truth, subsets = {}, {"train": [], "test": []}
    for name, recording in annotations.recordings.items():
        labels = [annotations.classes[label] for label in recording.labels]
        truth[name] = [(*times, label) for times, label in zip(recording.segments_sec.tolist(), labels)]
        subsets[recording.subset].append(name)
        file = options.out / "signals" / f"{name}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            with replacing(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, sbhar.read_signal(name))
        write_track(options.out / "truth" / f"{name}.txt", truth[name])
    pool = np.random.default_rng(options.seed).permutation(subsets["train"]).tolist()
    whole = teach(options.out / "whole", "truth", pool, subsets["test"])
    actions = sum(len(truth[name]) for name in pool)
    print(f"All {len(pool)} training recordings, {actions} actions: {whole:.2f}.")
    labelled, done, count, score = [], collections.Counter(), options.first, 0.0
    print(f"| recordings | actions | as found | {' | '.join(WORK)} | all of these | mAP |\n{'|---' * 9}|")
    while score < options.share * whole and len(labelled) < len(pool):
        names = pool[len(labelled) : len(labelled) + count]
        found = ask(options.out / str(len(labelled)), names) if labelled else dict.fromkeys(names, [])
        for name in names:
            labels, of_recording = corrected(found[name], truth[name])
            write_track(options.out / "labels" / f"{name}.txt", labels)
            done += of_recording
        labelled += names
        count = len(labelled)
        score = teach(options.out / str(count), "labels", labelled, subsets["test"])
        actions, work = sum(len(truth[name]) for name in labelled), [done[kind] for kind in WORK]
        cells = len(labelled), actions, done["kept"], *work, sum(work), f"{score:.2f}"
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    measure.end_with_sentence(main)
