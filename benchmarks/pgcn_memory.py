"""Peak memory of P-GCN: trains on recordings with 2,000 proposals and 2,048 channels and tests on another,
through the front door.

    python -m benchmarks.pgcn_memory [--proposals=2000] [--channels=2048] [--recordings=8]

Recordings are random and 20 minutes long, with 100 actions. One epoch of batches of 32 trees, then the test.
Prints MiB.
"""

import json
import pathlib
import resource
import tempfile

import numpy as np

from benchmarks import measure
from tal_jax.data import features
from tal_jax.data.detections_file import write_detections
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.train import train

DURATION_SEC, ACTIONS, CLASSES = 1200.0, 100, 20


def write_recordings(folder, number, proposals, channels):
    """Features, annotations and proposals of so many recordings, the last of them to test on."""
    random = np.random.default_rng(0)
    database, found = {}, {}
    (folder / "features").mkdir()
    for i in range(number):
        starts = np.sort(random.uniform(0, DURATION_SEC - 20, ACTIONS))
        segments = np.stack([starts, starts + random.uniform(2, 20, ACTIONS)], axis=1)
        labels = random.integers(CLASSES, size=ACTIONS)
        labels[:CLASSES] = np.arange(CLASSES)
        around = segments[random.integers(ACTIONS, size=proposals)] + random.normal(0, 2, (proposals, 2))
        around = np.clip(np.sort(around, axis=1), 0, DURATION_SEC)
        rows = [{"label": str(k), "segment": segment} for k, segment in zip(labels, segments.tolist())]
        database[f"r{i}"] = {
            "subset": "test" if i == number - 1 else "train",
            "duration": DURATION_SEC,
            "annotations": rows,
        }
        found[f"r{i}"] = [{"segment": segment, "score": random.random()} for segment in around.tolist()]
        np.save(
            folder / "features" / f"r{i}.npy",
            random.random((int(DURATION_SEC * 30 / 8), channels), np.float32),
        )
    (folder / "annotations.json").write_text(json.dumps({"database": database}))
    write_detections(folder / "proposals.json", found)


def main():
    """Measures."""
    parser = measure.parser(__doc__)
    parser.add_argument("--proposals", default=2000, type=int)
    parser.add_argument("--channels", default=2048, type=int)
    parser.add_argument("--recordings", default=8, type=int)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        write_recordings(folder, arguments.recordings, arguments.proposals, arguments.channels)
        config = pgcn_config()
        config.name = "memory"
        config.data = features.data_config(fps=30.0, stride_frames=8, snippet_frames=64)
        config.data.update(annotations=str(folder / "annotations.json"), features=str(folder / "features"))
        config.proposals = str(folder / "proposals.json")
        config.decode.proposals = arguments.proposals
        config.train.epochs = 1
        train(config, folder / "run")
    print(f"peak of resident memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
