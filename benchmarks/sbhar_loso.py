"""SBHAR with one person left out at a time, from acceleration alone, like the published 94.3 of ActionFormer,
94.0 of TriDet and 93.9 of TemporalMaxer (Bock, Moeller and Van Laerhoven, IMWUT 2024).

    python -m benchmarks.sbhar_loso [--variant=actionformer] [--fields=FIELD=VALUE,…] [--persons=user01,…] \
      [--budget_minutes=N] [--results=docs/sbhar_loso.json] [--out=runs/sbhar_loso]

Each of the 30 persons is detected by a network that trained on the other 29; the last epoch counts. Then the
detections of all persons are scored together. A finished person adds a line to the results file, and is not
made again: the same command continues, on another machine too.

Prints the mAP at tIoU 0.3 to 0.7, of each kind: normalised (protocol "detad"), of detections of a score above
0.3 alone, as published; normalised and plain, of all above 0.01.
"""

import hashlib
import os

import numpy as np

from benchmarks import measure, study_results, training
from configs.sbhar import get_config as config_of
from tal_jax.data.annotations import load_annotations
from tal_jax.data.detections_file import read_detections
from tal_jax.data.sets.sbhar import bundled_annotations, read_signal
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.runtime.files import replacing

SUBSETS = ("train", "test")
LEAST_SCORE = 0.01  # of the detections in the results file
PUBLISHED_SCORE = 0.3


def write_acceleration(folder):
    """Writes the acceleration of each recording, (T, 3) in g, as NAME.npy, unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in bundled_annotations().recordings:
        path = folder / f"{name}.npy"
        if not path.exists():
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, read_signal(name)[:, :3])


def make(person, asked, out):
    """Trains without a person, detects in that person's recordings, and returns the record.

    Args:
      person: such as "user01".
      asked: dict of `variant`, `fields` and the digest `config`, which the record has too.
      out: folder of all persons.
    """
    features, file = out / "acceleration", out / f"{person}.json"
    workdir = out / f"{person}_{hashlib.sha256(repr(asked).encode()).hexdigest()[:8]}"
    write_acceleration(features)
    training.hold_out(file, [person], SUBSETS)
    fields = [
        f"data.annotations={file}",
        f"data.features={features}",
        "data.num_channels=3",
        *asked["fields"],
    ]
    training.run(asked["variant"], fields, workdir)
    found = read_detections(workdir / "detections.json")
    rows = {name: [row for row in rows if row["score"] >= LEAST_SCORE] for name, rows in found.items()}
    return {"person": person, "detections": rows} | asked


def scores(records, file):
    """[(kind, its mAP at each tIoU and their mean)] of the pooled detections of finished persons.

    file: of annotations, is written: the recordings of these persons are the test.
    """
    training.hold_out(file, [record["person"] for record in records], SUBSETS)
    annotations, pooled = load_annotations(file), {}
    for record in records:
        pooled |= record["detections"]
    best = {name: [row for row in rows if row["score"] > PUBLISHED_SCORE] for name, rows in pooled.items()}
    kinds = {
        f"normalised, scores above {PUBLISHED_SCORE}": (best, "detad"),
        f"normalised, scores above {LEAST_SCORE}": (pooled, "detad"),
        f"plain, scores above {LEAST_SCORE}": (pooled, "activitynet"),
    }
    found = []
    for kind, (rows, protocol) in kinds.items():
        settings = dict(subset="test", tious=training.TIOUS, protocol=protocol)
        result = evaluate_detections(annotations, rows, **settings)
        found.append((kind, [*result["map"].values(), result["map_avg"]]))
    return found


def main():
    """Makes the persons that are missing, then prints the scores."""
    parser = measure.parser(__doc__)
    parser.add_argument("--variant", default="actionformer", help="of configs/sbhar.py")
    training.add_fields(parser)
    everyone = training.persons(SUBSETS)
    parser.add_argument("--persons", default=everyone, type=lambda text: text.split(","))
    study_results.add_options(parser, "sbhar_loso")
    options = parser.parse_args()
    if unknown := {*options.persons} - {*everyone}:
        parser.error(f"--persons names '{min(unknown)}'; persons are called user01 to user30.")
    config = study_results.digest_of(config_of(options.variant))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((options.out / "compiled").absolute()))

    asked = dict(variant=options.variant, fields=options.fields, config=config)

    def of_these(records):
        return [record for record in records if {key: record[key] for key in asked} == asked]

    def plan(records):
        done = [record["person"] for record in of_these(records)]
        return [person for person in options.persons if person not in done]

    study_results.read(options.results, ["person", "detections", *asked])
    study_results.run_all(plan, lambda person: make(person, asked, options.out), options)
    records = of_these(study_results.read(options.results))
    print(f"{len(records)} of {len(everyone)} persons.")
    if not records:
        return
    print(f"| mAP | {' | '.join(map(str, training.TIOUS))} | mean |\n{'|---' * 7}|")
    for kind, values in scores(records, options.out / "pooled.json"):
        print(f"| {kind} | {' | '.join(f'{value:.2f}' for value in values)} |")


if __name__ == "__main__":
    measure.end_with_sentence(main)
