"""What dynamic weights with a curriculum add to a detector: settings chosen on training persons of SBHAR,
then one test.

    python -m benchmarks.curriculum_study --part=select|test|myo|page [--budget_minutes=N] \
      [--systems=afsd,actionformer,temporalmaxer] [--myo=data/myo] [--results=docs/curriculum.json] \
      [--out=runs/curriculum]

select  Three folds over the training persons choose each setting of CHOICES (curriculum_choices.py) in turn,
        with what was chosen before. A person writes what was chosen into configs/sbhar.py.
test    The rows of ROWS with the settings of configs/sbhar.py, on the test persons, once for each seed.
myo     Three of the rows on the recordings that `python -m benchmarks.myo_gestures` made.
page    Writes docs/curriculum.md, and the picture in it, beside the results file.

A finished run adds a line to the results file, and is not made again: the same command continues, on another
machine too. With --budget_minutes it begins no run after N minutes.
"""

import functools
import hashlib
import json
import os
import pathlib

from benchmarks import curriculum_choices as study
from benchmarks import curriculum_page, measure, study_results, training
from tal_jax.data.annotations import load_annotations
from tal_jax.data.detections_file import read_detections
from tal_jax.data.sets.sbhar import bundled_annotations


def arguments(config, fields):
    """The list of FIELD=VALUE of a command line; the readings join those of the config."""
    of_fields = [f"{field}={value}" for field, value in fields.items() if not field.startswith("readings.")]
    said = dict(entry.split("=", 1) for entry in config.readings)
    said |= {
        field.removeprefix("readings."): fields[field] for field in fields if field.startswith("readings.")
    }
    return [*of_fields, f"readings={','.join(f'{name}={value}' for name, value in sorted(said.items()))}"]


def workdir_of(run, out):
    """The folder of a run, that of all runs with the same training, which may be scored in several ways."""
    trained = {field: run.fields[field] for field in sorted(run.fields) if ".decode." not in field}
    digest = hashlib.sha256(json.dumps([run.config, trained]).encode()).hexdigest()[:12]
    return out / run.part / f"{run.system}_{run.seed}_{digest}"


def make(run, out, myo):
    """Trains and scores a run, and returns its record.

    Args:
      run: curriculum_choices.Run.
      out: folder of all runs.
      myo: folder of `myo_gestures`.
    """
    fields, file, config = {"seed": run.seed} | run.fields, "", "sbhar"
    if run.part == "select":
        file = out / "select" / f"fold_{run.fold}.json"
        training.hold_out(file, training.persons()[run.fold :: len(study.FOLDS)])
    if run.part == "myo":
        file, config = myo / "annotations.json", "folder"
        fields |= study.MYO_FIELDS | {"data.features": myo / "features"}
    if file:
        fields["data.annotations"] = file
    annotations = load_annotations(file) if file else bundled_annotations()
    workdir, variant = workdir_of(run, out), study.SYSTEMS[run.system][1]
    of_command = arguments(study.config_of(run.system, run.part), fields)
    training.run(variant, of_command, workdir, config=config)
    detections = read_detections(workdir / "detections.json")
    figures = training.figures(annotations, detections)
    record = run._asdict() | {"figures": {name: round(value, 3) for name, value in figures.items()}}
    if run.part != "select":
        record["false_positives"] = training.false_positives(annotations, detections)
    return record


def main():
    """Makes what is missing of a part."""
    parser = measure.parser(__doc__)
    parser.add_argument("--part", choices=("select", "test", "myo", "page"), required=True)
    parser.add_argument("--systems", default=",".join(study.SYSTEMS), type=lambda text: text.split(","))
    parser.add_argument("--myo", default="data/myo", type=pathlib.Path)
    study_results.add_options(parser, "curriculum")
    options = parser.parse_args()
    if unknown := {*options.systems} - {*study.SYSTEMS}:
        parser.error(f"--systems names '{min(unknown)}'; it may name {', '.join(study.SYSTEMS)}.")
    if options.part == "myo" and not (options.myo / "features").is_dir():
        parser.error(
            f"{options.myo} holds no gestures; make them with benchmarks.myo_gestures, or name --myo."
        )
    read = functools.partial(study_results.read, keys=[*study.SAME, "fields", "label", "figures"])
    read(options.results)
    if options.part == "page":
        records, page = read(options.results), options.results.with_suffix(".md")
        if not records:
            parser.error(f"{options.results} holds no run; correct --results, or make runs first.")
        curriculum_page.write(records, page, page.with_suffix(".png"))
        return
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str((options.out / "compiled").absolute()))
    plan = functools.partial(study.plan, options.part, options.systems)
    of_run = functools.partial(make, out=options.out, myo=options.myo)
    study_results.run_all(plan, of_run, options, lambda run: str(workdir_of(run, options.out)))


if __name__ == "__main__":
    measure.end_with_sentence(main)
