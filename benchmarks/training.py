"""Trainings through the command line, on SBHAR as a rule, for studies that compare some of several seeds."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np

from benchmarks import measure
from tal_jax.data.sets import sbhar
from tal_jax.evaluation import diagnosis
from tal_jax.evaluation.detection import evaluate_detections
from tal_jax.runtime.files import replacing

TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)
STRICT_TIOUS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


def parser(doc, out):
    """An argument parser with the options of all such studies. doc: of the module; out: default folder."""
    made = measure.parser(doc)
    made.add_argument("--seeds", default="1,2,3", type=lambda text: text.split(","))
    made.add_argument("--out", default=out, type=pathlib.Path)
    return made


def add_fields(made):
    """Adds the option --fields to an argument parser: a list of FIELD=VALUE."""
    made.add_argument(
        "--fields",
        default=[],
        type=lambda text: re.split(r",(?=[\w.]+=)", text),
        help="of the config, separated by commas; another --out with other fields",
    )


def run(variant, fields, workdir, *arguments, config="sbhar"):
    """One command. variant: of the config `config`, "" for its default; fields: list of FIELD=VALUE of it."""
    of_variant = f":{variant}" if variant else ""
    command = [sys.executable, "-m", "tal_jax.main", f"--config=configs/{config}.py{of_variant}"]
    command += [f"--workdir={workdir}", *arguments, *(f"--config.{field}" for field in fields)]
    subprocess.run(command, check=True)


def train(variant, fields, workdir):
    """One training and its evaluation, unless that is there."""
    if not (workdir / "evaluation.json").exists():
        run(variant, fields, workdir)


def demos(options, prefix, annotations, fields=()):
    """Trains the detector of `make demo` with each seed, where it is not trained yet.

    Args:
      options: of `parser` and `add_fields`.
      prefix: of the folders of the runs, which end in the seeds.
      annotations: file.
      fields: list of FIELD=VALUE; those of the options go before them.

    Yields:
      (folder of the run, its list of FIELD=VALUE) of each seed.
    """
    for seed in options.seeds:
        workdir = pathlib.Path(f"{prefix}_{seed}")
        of_run = [f"seed={seed}", f"data.annotations={annotations}", *fields, *options.fields]
        train("demo", of_run, workdir)
        yield workdir, of_run


def figures(annotations, detections):
    """The scores of a run: mAP on the subset "test" in percent.

    Returns:
      dict: "average" over TIOUS, "at_0.7", "strict" (the average over STRICT_TIOUS) and, where classes are
      transitions of SBHAR, "transitions" (the average over TIOUS of these alone).
    """
    result = evaluate_detections(annotations, detections, subset="test", tious=TIOUS)
    strict = evaluate_detections(annotations, detections, subset="test", tious=STRICT_TIOUS)
    of_run = {"average": result["map_avg"], "at_0.7": result["map"]["0.7"], "strict": strict["map_avg"]}
    transitions = [np.mean(list(row.values())) for name, row in result["ap"].items() if "_to_" in name]
    return of_run | ({"transitions": float(np.mean(transitions))} if transitions else {})


def false_positives(annotations, detections):
    """The false positives of a run on the subset "test", see `diagnosis.diagnose`, rounded.

    Returns:
      {"shares" {type: percent}, "gain" {type of error: points of mAP}, "groups" list of {type: percent}}.
    """
    made = diagnosis.diagnose(annotations, detections, subset="test", tious=TIOUS)["false_positives"]
    rounded = lambda values: {name: round(value, 2) for name, value in values.items() if value is not None}
    groups = [rounded(group["shares"]) for group in made["groups"]]
    return {"shares": rounded(made["shares"]), "gain": rounded(made["gain"]), "groups": groups}


def persons(subsets=("train",)):
    """The persons of SBHAR's recordings in these subsets, sorted."""
    recordings = sbhar.bundled_annotations().recordings
    return sorted({person_of(name) for name, recording in recordings.items() if recording.subset in subsets})


def person_of(name):
    """The person of a recording of SBHAR."""
    return name.split("_")[1]


def hold_out(path, held_out, subsets=("train",)):
    """Writes SBHAR's annotations of the recordings in these subsets: "test" are those of the persons held
    out, "train" the others.

    Args:
      path: of the file.
      held_out: persons.
    """
    content = json.loads((sbhar.FILES / "annotations.json").read_text())
    database = content["database"]
    content["database"] = {name: entry for name, entry in database.items() if entry["subset"] in subsets}
    for name, entry in content["database"].items():
        entry["subset"] = "test" if person_of(name) in held_out else "train"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content))


def spread(rows):
    """Cells of a table, "mean ± standard deviation" over the rows of numbers, of which one has none."""
    deviations = np.std(rows, axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(rows[0]))
    return " | ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in zip(np.mean(rows, axis=0), deviations))
