"""Seven hand gestures in recordings of eight muscle sensors, 200 Hz, 8 minutes each.

Makes features and annotations that configs/folder.py reads from the files of the authors:

    git clone https://github.com/aljazfrancic/myo-readings-dataset
    python -m benchmarks.myo_gestures --source=myo-readings-dataset/_readings_right_hand --out=data/myo

The source has a folder PERSON-SESSION of each session, in which 0.txt to 7.txt hold a minute each: a line has
the eight values of a sample, -128 to 127, and its gesture's number, 0 in rest. Gestures take 5 s, so do
rests; 0.txt holds small movements that are none. A recording is the first session of a person whose files are
all whole, joined in an order that is drawn for each session. Of the 38 people the first 27 by name are taken;
every third one is for the test.
"""

import itertools
import json
import pathlib
import re

import numpy as np

from benchmarks import measure
from tal_jax.errors import DataError
from tal_jax.runtime.files import replacing

FPS = 200.0
GESTURES = (
    "flexion",
    "extension",
    "radial deviation",
    "ulnar deviation",
    "pronation",
    "supination",
    "fist",
)
PARTS = len(GESTURES) + 1
WHOLE_SAMPLES = 9000  # a file with fewer was broken off
PEOPLE = 27
SAMPLE = re.compile(r"(-?\d{1,3},){8}[0-7]")


def read_part(path):
    """(samples (T, 8), numbers of gestures (T,)), int8, of a file; a last line may be broken off."""
    text = path.read_text(errors="replace").splitlines()
    lines = [line for line in text if SAMPLE.fullmatch(line)]
    if len(lines) + 1 < len(text):
        print(f"{path}: {len(text) - len(lines)} lines are no samples and are left out.")
    rows = np.array([line.split(",") for line in lines], int).reshape(-1, 9)
    if np.abs(rows + 0.5).max(initial=0) > 127.5:
        raise DataError(f"{path} has values beyond -128 to 127; download it again.")
    rows = rows.astype(np.int8)
    return rows[:, :8], rows[:, 8]


def read_session(folder):
    """The parts of a session, or None if one of its files is missing or not whole."""
    paths = [folder / f"{number}.txt" for number in range(PARTS)]
    if not all(path.exists() for path in paths):
        return None
    parts = [read_part(path) for path in paths]
    return parts if min(len(labels) for _, labels in parts) >= WHOLE_SAMPLES else None


def actions_of(labels):
    """The actions of (T,) numbers of gestures, as an annotation file has them."""
    edges = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(labels)]
    return [
        {"label": GESTURES[labels[start] - 1], "segment": [round(start / FPS, 3), round(end / FPS, 3)]}
        for start, end in itertools.pairwise(edges)
        if labels[start]
    ]


def convert(source, out, people=PEOPLE):
    """Writes OUT/features/NAME.npy, (T, 8) int8, and OUT/annotations.json.

    Args:
      source: the folder of sessions.
      out: folder.
      people: how many, in the order of their names.

    Returns:
      number of recordings.

    Raises:
      DataError: no session is whole; an old annotation file stays.
    """
    random, database = np.random.default_rng(0), {}
    names = sorted({path.name.split("-")[0] for path in source.iterdir() if path.is_dir()})[:people]
    (out / "features").mkdir(parents=True, exist_ok=True)
    for i, person in enumerate(names):
        sessions = ((path, read_session(path)) for path in sorted(source.glob(f"{person}-*")))
        folder, parts = next((found for found in sessions if found[1]), (None, None))
        if not parts:
            print(f"{person} has no whole session.")
            continue
        parts = [parts[number] for number in random.permutation(PARTS)]
        signals, labels = (np.concatenate(joined) for joined in zip(*parts))
        np.save(out / "features" / f"{folder.name}.npy", signals)
        database[folder.name] = {
            "subset": "test" if i % 3 == 2 else "train",
            "duration": len(labels) / FPS,
            "fps": FPS,
            "annotations": actions_of(labels),
        }
    if not database:
        raise DataError(f"{source} has no folder PERSON-SESSION with eight whole files; correct --source.")
    with replacing(out / "annotations.json") as temporary:
        temporary.write_text(json.dumps({"classes": GESTURES, "database": database}))
    return len(database)


def main():
    """Converts, and says how many recordings there are."""
    parser = measure.parser(__doc__)
    parser.add_argument("--source", required=True, type=pathlib.Path, help="folder of the sessions")
    parser.add_argument("--out", default="data/myo", type=pathlib.Path)
    parser.add_argument("--people", default=PEOPLE, type=int)
    options = parser.parse_args()
    if options.people < 1 or not options.source.is_dir():
        parser.error("--source must be a folder, and --people at least 1.")
    print(f"{convert(options.source, options.out, options.people)} recordings in {options.out}.")


if __name__ == "__main__":
    measure.end_with_sentence(main)
