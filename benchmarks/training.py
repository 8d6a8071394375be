"""Trainings on SBHAR through the command line, for studies that compare some of several seeds each."""

import pathlib
import subprocess
import sys

import numpy as np

from benchmarks import measure


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
        type=lambda text: text.split(","),
        help="of the config, separated by commas; another --out with other fields",
    )


def run(variant, fields, workdir, *arguments):
    """One command. variant: of configs/sbhar.py; fields: list of FIELD=VALUE of its config."""
    command = [sys.executable, "-m", "tal_jax.main", f"--config=configs/sbhar.py:{variant}"]
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


def spread(rows):
    """Cells of a table, "mean ± standard deviation" over the rows of numbers, of which one has none."""
    deviations = np.std(rows, axis=0, ddof=1) if len(rows) > 1 else np.zeros(len(rows[0]))
    return " | ".join(f"{mean:.2f} ± {std:.2f}" for mean, std in zip(np.mean(rows, axis=0), deviations))
