"""The page of the study of the curriculum: what was chosen, what the test says, and whether it is a gain."""

import numpy as np
from matplotlib.figure import Figure

from benchmarks import curriculum_choices as study
from benchmarks import study_results, training
from tal_jax.evaluation import figures
from tal_jax.evaluation.detad import TYPES
from tal_jax.runtime.files import replacing

FIGURES = {
    "average": "0.3:0.1:0.7",
    "at_0.7": "at 0.7",
    "strict": "0.5:0.05:0.95",
    "transitions": "six transitions",
}
HEAD = """# Curriculum weights on three detectors

DW-AFSD trains AFSD with dynamic weights by curriculum learning. Its authors name transformers as future
work. This page asks what the weights, the curriculum and the auxiliary score add to AFSD, to ActionFormer and
to TemporalMaxer. `python -m benchmarks.curriculum_study --part=page` writes it from
[curriculum.json](curriculum.json), which has the figures of each run.

* **Selection.** Three folds over the training persons of SBHAR choose settings one after the other, each with
  what was chosen before, by mAP averaged over tIoU 0.3 to 0.7. Learning rate and epochs, which all rows
  share, are chosen without weights. The rows with weights have more choices than the base row; the power of
  TriDet is its value on THUMOS14.
* **Test.** Each row is trained with seeds 1 to 5 on all training persons, with the settings that were chosen,
  and scored on the test persons: the last epoch, the moving average of the parameters. Differences are
  between runs of the same seed; ± is their 95 % interval by Student's t.
* **Myo gestures.** The settings that were chosen on SBHAR, with the network of configs/folder.py; seeds 1 to
  3. Nothing was chosen on it.
* AFSD's frame length, assignment and augmentation were chosen on SBHAR's test persons, before this study.
"""


ERRORS = """## Which errors are left

As in Figure 5 of the paper, after DETAD, on the test persons of SBHAR, means over the seeds. Of a class with
G actions the best G detections are the first bar, the next G the second, and so on. A table says how many
points of normalised mAP each type of error costs: the gain without detections of this type. AFSD and DW-AFSD
as they are configured are in [results.md](results.md#which-errors-are-left-afsd-and-dw-afsd).
"""
SHOWN = ("base", "curriculum", "all")  # rows whose errors are shown


def write(records, page, picture):
    """Writes the page and its picture.

    Args:
      records: of the results file.
      page: path of the Markdown file.
      picture: path of the PNG file, in the same folder.
    """
    parts = [HEAD, "## What the test says\n", *_verdicts(records)]
    for benchmark, part in (("SBHAR", "test"), ("Myo gestures", "myo")):
        parts += [
            table for system in study.SYSTEMS if (table := _test_table(records, part, system, benchmark))
        ]
    parts += [f"![Gain over the base row]({picture.name})\n"]
    errors = picture.with_stem(f"{picture.stem}_errors")
    if shown := [system for system in study.SYSTEMS if errors_of(records, system, "base")]:
        parts += [ERRORS, f"![Shares of the errors, and what each costs]({errors.name})\n"]
        parts += [_errors_table(records, system) for system in shown]
        _draw_errors(records, shown, errors)
    parts += ["## What was chosen\n"]
    parts += [table for system in study.SYSTEMS if (table := _choices_table(records, system))]
    with replacing(page) as temporary:
        temporary.write_text("\n".join(parts))
    _draw(records, picture)


def differences(records, part, system, row):
    """(n,) of the averaged mAP of a row minus that of the base row, for the n seeds that have both."""
    of_row, of_base = (by_seed(records, part, system, name) for name in (row, "base"))
    return np.array(
        [of_row[seed]["average"] - of_base[seed]["average"] for seed in of_row if seed in of_base]
    )


def by_seed(records, part, system, row):
    """{seed: figures} of a row of the test with today's settings, by rising seed."""
    runs = [run for run in study.runs_of(part, [system]) if run.label == row]
    found = {run.seed: study.find(records, run) for run in runs}
    return {seed: record["figures"] for seed, record in found.items() if record}


def _tested(records):
    """[(part, system)] that have runs of the test, in the order of the page."""
    there = {(record["part"], record["system"]) for record in records}
    return [(part, system) for part in ("test", "myo") for system in study.SYSTEMS if (part, system) in there]


def _verdicts(records):
    """A line for each system: is the row with weights and curriculum better than the base row?"""
    lines = []
    for part, system in _tested(records):
        pairs = differences(records, part, system, "curriculum")
        seeds = study.seeds_of(part)
        compared = f"* {_name(part, system)}: weights with the curriculum against the base row"
        if len(pairs) < len(seeds):
            lines.append(f"{compared}: {len(pairs)} of {len(seeds)} seeds are there.")
            continue
        mean, half = study_results.interval(pairs)
        said = "no difference that seeds do not explain"
        if abs(mean) > half:
            said = "**a gain**" if mean > 0 else "**a loss**"
        lines.append(f"{compared}, {mean:+.2f} ± {half:.2f}: {said}.")
    return [*lines, ""]


def _name(part, system):
    return f"{study.SYSTEMS[system][0]} on {'SBHAR' if part == 'test' else 'myo gestures'}"


def _test_table(records, part, system, benchmark):
    """The table of a system's rows; None without runs."""
    found = {row: by_seed(records, part, system, row) for row in study.ROWS}
    every = [figures for of_seeds in found.values() for figures in of_seeds.values()]
    columns = [name for name in FIGURES if all(name in figures for figures in every)]
    lines = []
    for row, of_seeds in found.items():
        if of_seeds:
            values = [[figures[column] for column in columns] for figures in of_seeds.values()]
            pairs, gain = differences(records, part, system, row), ""
            if row != "base" and len(pairs) > 1:
                gain = "{:+.2f} ± {:.2f}".format(*study_results.interval(pairs))
            lines.append(f"| {study.ROWS[row][0]} | {training.spread(values)} | {gain} | {len(of_seeds)} |")
    if not lines:
        return None
    heads = " | ".join(FIGURES[column] for column in columns)
    head = f"| row | {heads} | gain over the base row | seeds |\n{'|---' * (len(columns) + 3)}|"
    title = f"### {study.SYSTEMS[system][0]}, {benchmark}\n\nmAP in percent, mean ± standard deviation."
    return "\n".join([title, "", head, *lines, ""])


def errors_of(records, system, row):
    """The false positives of a row of the test on SBHAR, see `training.false_positives`: a list of seeds."""
    runs = [run for run in study.runs_of("test", [system]) if run.label == row]
    found = [study.find(records, run) for run in runs]
    return [record["false_positives"] for record in found if record and "false_positives" in record]


def _errors_table(records, system):
    """The table of what each type of error costs a system."""
    lines = []
    for row in SHOWN:
        if of_seeds := errors_of(records, system, row):
            gains = [[one["gain"].get(kind, 0.0) for kind in TYPES[1:]] for one in of_seeds]
            lines.append(f"| {study.ROWS[row][0]} | {training.spread(gains)} | {len(of_seeds)} |")
    head = f"| row | {' | '.join(TYPES[1:])} | seeds |\n{'|---' * (len(TYPES) + 1)}|"
    return "\n".join([f"### {study.SYSTEMS[system][0]}", "", head, *lines, ""])


def _draw_errors(records, systems, path):
    """The shares of right detections and of errors in groups of detections, a panel for each row."""
    figure = Figure(figsize=(3.2 * len(SHOWN), 2.6 * len(systems)), layout="constrained")
    panels = figure.subplots(len(systems), len(SHOWN), squeeze=False, sharey=True)
    for line, system in zip(panels, systems):
        for axes, row in zip(line, SHOWN):
            groups = [one["groups"] for one in errors_of(records, system, row)]
            means = [
                {kind: np.mean([group.get(kind, 0.0) for group in of_seeds]) for kind in TYPES}
                for of_seeds in zip(*groups)
            ]
            figures.draw_shares(axes, means)
            axes.set_title(f"{study.SYSTEMS[system][0]}, {study.ROWS[row][0]}", loc="left", fontsize=9)
            axes.tick_params(labelsize=8)
            axes.set(xlabel="", ylabel="")
    panels[-1, len(SHOWN) // 2].set_xlabel("best detections of each class with G actions", fontsize=9)
    panels[0, 0].set_ylabel("share (%)", fontsize=9)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(TYPES), frameon=False, fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")


def _choices_table(records, system):
    """The table of what was chosen among; None without runs."""
    lines = []
    for choice, candidates, chosen in study.greedy(system, records):
        for candidate in candidates:
            if None in candidate.records:
                continue
            folds = [record["figures"]["average"] for record in candidate.records]
            others = [
                np.mean([record["figures"][name] for record in candidate.records])
                for name in ("at_0.7", "strict")
            ]
            mark = "**" if candidate.value == chosen else ""
            cells = [f"{value:.2f}" for value in (*folds, np.mean(folds), *others)]
            lines.append(f"| {choice.name} | {mark}{candidate.value}{mark} | {' | '.join(cells)} |")
    if not lines:
        return None
    head = f"| choice | value | fold 1 | 2 | 3 | mean | at 0.7 | 0.5:0.05:0.95 |\n{'|---' * 8}|"
    return "\n".join([f"### {study.SYSTEMS[system][0]}", "", head, *lines, ""])


def _draw(records, path):
    """The gain of each row over the base row, with its interval."""
    tested = _tested(records)
    figure = Figure(figsize=(8, 1 + 1.6 * max(1, len(tested))), layout="constrained")
    for axes, (part, system) in zip(np.atleast_1d(figure.subplots(max(1, len(tested)), sharex=True)), tested):
        rows = [
            row for row in study.ROWS if row != "base" and len(differences(records, part, system, row)) > 1
        ]
        for height, row in enumerate(reversed(rows)):
            mean, half = study_results.interval(differences(records, part, system, row))
            axes.errorbar(mean, height, xerr=half, fmt="o", color="#4477aa", capsize=3)
        axes.axvline(0, color="#7a808c", linewidth=1)
        axes.set_yticks(range(len(rows)), [study.ROWS[row][0] for row in reversed(rows)])
        axes.set_title(_name(part, system), loc="left", fontsize=10)
        axes.set_xlabel("mAP over the base row, mean and 95 % interval")
        axes.label_outer()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
