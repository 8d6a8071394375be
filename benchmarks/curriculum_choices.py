"""The runs of the study of the curriculum: what is chosen among, the rows of the test, and which run is next.

A run's `fields` are {field of the config: value}, "readings.NAME" for an open point. Two runs are the same if
all fields are; a field that one of them lacks has its first value of CHOICES.
"""

from typing import NamedTuple

import numpy as np

from benchmarks.study_results import digest_of
from configs import folder, sbhar
from tal_jax.systems.actionformer.config import reading as actionformer_reading
from tal_jax.systems.afsd.config import reading as afsd_reading

SYSTEMS = {  # name -> as the page calls it, variant of configs/sbhar.py and configs/folder.py
    "afsd": ("AFSD", "dw_afsd"),
    "actionformer": ("ActionFormer", "dw_actionformer"),
    "temporalmaxer": ("TemporalMaxer", "dw_actionformer,mixer=max"),
}
FOLDS = (0, 1, 2)  # fold f holds out the training persons f, f + 3, …
SEED_OF_FOLD = (11, 12, 13)
SEEDS = (1, 2, 3, 4, 5)
AUXILIARY = "curriculum.auxiliary"
SAME = ("part", "system", "fold", "seed", "config")  # of two runs that are one, beside the fields
MYO_SEEDS, MYO_ROWS = (1, 2, 3), ("base", "curriculum", "all")
MYO_FIELDS = {  # of configs/folder.py: frames of 0.2 s, each described by 1 s of samples
    "data.samples_per_frame": 40,
    "data.statistics_samples": 200,
    "data.standardised": True,
    "augment.noise": 0.1,
}


def parts(weights, schedule, auxiliary="none"):
    """The fields that say which parts of the curriculum are on."""
    return {"curriculum.weights": weights, "curriculum.schedule": schedule, AUXILIARY: auxiliary}


BASE, CURRICULUM, ALL = parts(False, False), parts(True, True), parts(True, True, "branch")
# row of the test -> as the page calls it, its fields; "branch": the chosen auxiliary score, else the branch
ROWS = {
    "base": ("base", BASE),
    "power": ("weights tIoU^0.2 (TriDet)", BASE | {"loss.overlap_power": 0.2}),  # its value on THUMOS14
    "weights": ("+ weights", parts(True, False)),
    "curriculum": ("+ weights, curriculum", CURRICULUM),
    "auxiliary": ("+ weights, auxiliary score", parts(True, False, "branch")),
    "all": ("all three", ALL),
}


class Choice(NamedTuple):
    """One setting, and the row of the study in which its candidates are compared."""

    name: str
    row: dict
    field: str
    values: tuple  # the first one: as before the study


def choices(rate, epochs, norms, reading, final_scores, *more):
    """The choices of a system in their order, see CHOICES. reading: (name, values) of an open point."""
    return (
        Choice("learning rate", BASE, "train.learning_rate", rate),
        Choice("epochs", BASE, "train.epochs", epochs),
        Choice("size of the weights", CURRICULUM, "curriculum.weight_norm", norms),
        Choice("t of the first epoch", CURRICULUM, "readings.first_epoch", (0, 1)),
        Choice(reading[0].replace("_", " "), CURRICULUM, f"readings.{reading[0]}", reading[1]),
        Choice("final score", ALL, "readings.decode.final_score", final_scores),
        *more,
        Choice("auxiliary score", CURRICULUM, AUXILIARY, ("branch", "classification", "none")),
    )


# What all rows share is chosen without the curriculum, so that the base has what suits it best.
CHOICES = {
    "afsd": choices(
        (1e-3, 5e-4, 2e-3),
        (48, 32, 72),
        ("none", "mean", "floor"),
        ("stage_weights", ("own", "shared")),
        ("replace_quality", "times_quality", "aux_only"),
        Choice("positives of Eq. 10", ALL, "readings.auxiliary_positives", ("refined", "coarse")),
    ),
    "actionformer": choices(
        (1e-3, 5e-4, 2e-3),
        (40, 60),
        ("mean", "none", "floor"),
        ("weighted_entries", ("positive", "all")),
        ("times", "sqrt", "aux_only"),
    ),
}
CHOICES["temporalmaxer"] = CHOICES["actionformer"]


class Run(NamedTuple):
    """One training and its scores."""

    part: str  # 'select', 'test' or 'myo'
    system: str
    label: str  # of the row, or "choice: value"
    fold: int | None
    seed: int
    fields: dict
    config: str  # `rest_of` the system and the part


def first_settings(system):
    """{field: its first value in CHOICES} of a system."""
    return {choice.field: choice.values[0] for choice in CHOICES[system]}


def find(records, run):
    """The record of a run, or None."""
    first = first_settings(run.system)
    for record in records:
        same = all(record[key] == getattr(run, key) for key in SAME)
        if same and first | record["fields"] == first | run.fields:
            return record
    return None


class Candidate(NamedTuple):
    """A value of a choice, its runs on the folds, and their records, None where one is missing."""

    value: object
    runs: list
    records: list

    def score(self):
        """Mean over the folds of the mAP averaged over tIoU 0.3 to 0.7; -inf while a fold is missing."""
        if None in self.records:
            return -np.inf
        return float(np.mean([record["figures"]["average"] for record in self.records]))


def greedy(system, records):
    """Makes the choices of a system in their order, each with what was chosen before.

    Args:
      system: a name of SYSTEMS.
      records: of the results file.

    Yields:
      (Choice, its Candidates, the value that is chosen) of each; the first of the best, or None while a
      candidate has missing folds. Later choices then go on with the first value.
    """
    settings = first_settings(system)
    for choice in CHOICES[system]:
        candidates = []
        for value in choice.values:
            fields = settings | choice.row | {choice.field: value}
            label = f"{choice.name}: {value}"
            rest = rest_of(system, "select")
            runs = [Run("select", system, label, fold, SEED_OF_FOLD[fold], fields, rest) for fold in FOLDS]
            candidates.append(Candidate(value, runs, [find(records, run) for run in runs]))
        complete = all(None not in candidate.records for candidate in candidates)
        chosen = max(candidates, key=Candidate.score).value if complete else None
        yield choice, candidates, chosen
        settings[choice.field] = choice.values[0] if chosen is None else chosen


def config_of(system, part="test"):
    """The config of a system's runs, before their fields."""
    return (folder if part == "myo" else sbhar).get_config(SYSTEMS[system][1])


def rest_of(system, part):
    """The digest of the config of a system's runs, without the settings of CHOICES, which each run names."""
    config, first = config_of(system, part).copy_and_resolve_references(), first_settings(system)
    config.update_from_flattened_dict({field: first[field] for field in first if "readings." not in field})
    others = [entry for entry in config.readings if f"readings.{entry.split('=')[0]}" not in first]
    config.readings = tuple(others)
    return digest_of(config)


def frozen_settings(system):
    """{field: value} of the settings of CHOICES, as configs/sbhar.py has them."""
    config = config_of(system)
    reading = afsd_reading if system == "afsd" else actionformer_reading
    return {
        field: reading(config, field.removeprefix("readings."))
        if field.startswith("readings.")
        else config[field]
        for field in first_settings(system)
    }


def rows(system):
    """{row: its fields} of the test, beside which the settings are those of configs/sbhar.py."""
    settings = frozen_settings(system)
    auxiliary = "branch" if settings[AUXILIARY] == "none" else settings[AUXILIARY]
    found = {}
    for name, (_, fields) in ROWS.items():
        chosen = {AUXILIARY: auxiliary} if fields[AUXILIARY] == "branch" else {}
        found[name] = settings | fields | chosen
    return found


def seeds_of(part):
    """The seeds of 'test' or 'myo'."""
    return SEEDS if part == "test" else MYO_SEEDS


def runs_of(part, systems):
    """The Runs of 'test' or 'myo', seed by seed; first the rows that both parts have."""
    fields = {system: rows(system) for system in systems}
    rest = {system: rest_of(system, part) for system in systems}
    return [
        Run(part, system, row, None, seed, fields[system][row], rest[system])
        for of_rows in (MYO_ROWS, [row for row in ROWS if row not in MYO_ROWS] if part == "test" else [])
        for system in systems
        for seed in seeds_of(part)
        for row in of_rows
    ]


def plan(part, systems, records):
    """The Runs of a part that have no record, the next one first.

    Of 'select' those of the first choice of each system that is not made yet: what comes after depends on it.
    """
    if part != "select":
        runs = runs_of(part, systems)
    else:
        runs = []
        for system in systems:
            for _, candidates, chosen in greedy(system, records):
                if chosen is None:
                    runs += [run for candidate in candidates for run in candidate.runs]
                    break
    return [run for run in runs if find(records, run) is None]
