"""Prints scores, detections and faults of data on the terminal, for a person to read."""

import pathlib

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from tal_jax.errors import plain
from tal_jax.evaluation.detection import DENSE

LEFT = ("", "class", "what")  # columns of texts; the others are of numbers, on the right
MOST_VALUE = 30  # characters of a field in the table of a plan
MOST_DETECTIONS = 40  # in the table of a recording
NUMBERS = ("1", "5", "10", "50", "100")  # of proposals, in the table of average recall


def _table(title, *columns):
    """A Table with these columns."""
    headers = [Column(column, justify="left" if column in LEFT else "right") for column in columns]
    return Table(*headers, title=title)


def _say(line):
    """Prints a line as it is, wrapped by the terminal alone."""
    _console().print(line, highlight=False, markup=False, soft_wrap=True)


def print_plan(lines):
    """Prints a plan: the value of each field, and its reason. lines: of plan.Line; none print nothing."""
    if not lines:
        return
    table = Table(Column("field"), Column("value", max_width=MOST_VALUE), Column("reason"), title="The plan")
    for line in lines:
        value = str(line.value)
        short = value if len(value) <= MOST_VALUE else f"{value[: MOST_VALUE - 1]}…"
        table.add_row(line.field, escape(short), escape(line.reason))
    _console().print(table)


def print_evaluation(result, path):
    """Prints mAP, the AP of every class, recall@kx where it was asked for, and the recall of proposals.

    Args:
      result: the scores as `evaluate.evaluate` returns them; None and {} print nothing.
      path: the file that holds them.
    """
    if not result:
        return
    tious, counts, protocol = list(result["map"]), result["counts"], result["protocol"]
    of_all, absent, which = counts["recordings_of_subset"], protocol["recordings_missing"], ""
    is_missed = protocol["missing"] == "missed"
    if counts["recordings"] != of_all or absent and is_missed:
        which = f"\n{counts['recordings']} of {of_all} recordings"
        which += f", {len(absent)} of them missed" if absent and is_missed else ""
    table = _table(f"AP (%) by tIoU, protocol {protocol['name']}{which}", "class", *tious, "average")
    for name, row in result["ap"].items():
        table.add_row(escape(name), *(f"{row[t]:.1f}" for t in tious), f"{sum(row.values()) / len(row):.1f}")
    table.add_section()
    means = [*(result["map"][t] for t in tious), result["map_avg"]]
    table.add_row("mAP", *(f"{mean:.2f}" for mean in means), style="bold")
    for k, row in result.get("recall_at", {}).items():
        values = [*(row[t] for t in tious), sum(row.values()) / len(row)]
        table.add_row(f"recall@{k}", *(f"{value:.2f}" for value in values))
    _console().print(table)
    scored = f"{counts['recordings']} recordings with {counts['ground_truths']} annotated actions"
    _say(f"{counts['detections']} detections of any score in {scored}. All counts: {path}")
    if (page := pathlib.Path(path).with_name("report.html")).exists():
        _say(f"To look at in a browser: {page}")
    if "folds" in result:
        mean, deviation = np.mean(result["folds"]), np.std(result["folds"], ddof=1)
        each = ", ".join(f"{score:.2f}" for score in result["folds"])
        _say(f"Cross-validation: mAP {mean:.2f} ± {deviation:.2f} over the folds ({each}); pooled above.")
    if absent:
        what = f"Recordings without features or not in the file: {len(absent)}, the first is '{absent[0]}'"
        score = "their actions count as missed" if is_missed else "they are left out"
        _say(f"{what}; {score} (config.evaluate.missing).")
    if protocol["classes_not_scored"]:
        names = ", ".join(protocol["classes_not_scored"])
        _say(f"Classes without an action to score against in the subset, not scored: {names}.")
    if left_out := counts["ground_truths_left_out"]:
        _say(f"{left_out} actions that last nothing, or longer than their recording, are left out.")
    if counts["ignored_intervals"]:
        number = counts["ignored_intervals"]
        _say(f"Intervals with an ignored label (config.data.ignored_labels): {number}.")
    for why, number in counts["detections_ignored"].items():
        if number:
            _say(f"{number} detections ignored: {why.replace('_', ' ')}.")
    dense = counts.get("detections_per_truth_found", 0)
    if dense >= DENSE:
        _say(
            f"These detections are dense: {dense:.1f} of its class overlap each action that is found. The "
            "devkit gives an action the one of highest overlap, whatever its score, and counts the others as "
            "false. Suppress first (--config.evaluate.devkit_keep=0.5), or score by "
            "--config.evaluate.protocol=activitynet."
        )
    if "proposals" in result:
        _console().print(_found_table("actions found, whatever their class (%)", result["proposals"]))


def print_diagnosis(made, path):
    """Prints what `diagnose.diagnose` returns, in percent and seconds. path: the file that holds it."""
    false, counts = made["false_positives"], made["counts"]
    title = f"the best {false['detections']} detections (%)"
    table = _table(title, "what", "share", "normalised mAP without it")
    for kind, share in false["shares"].items():
        gain = false["gain"].get(kind)
        table.add_row(kind.replace("_", " "), _number(share), f"+{gain:.1f}" if gain is not None else "")
    _console().print(table)
    table = _table("actions by what they are like (%)", "what", "from", "to", "actions", "mAP", "missed")
    for kind, of_kind in made["sensitivity"].items():
        missed = made["false_negatives"]["buckets"][kind]
        for name, row in of_kind["buckets"].items():
            ends = [f"{row[end]:.3g}" if row[end] is not None else "" for end in ("above", "up_to")]
            number, score = str(row["ground_truths"]), _number(row["map"])
            table.add_row(f"{kind} {name}", *ends, number, score, _number(missed[name]["missed"]))
    _console().print(table)
    title = "classes: normalised AP (%), best F1 (%) and its score, median errors (s)"
    table = _table(title, "class", "AP", "F1", "score", "start", "end", "taken for")
    confusion = made["confusion"]
    for k, (name, ap) in enumerate(made["ap"].items()):
        best, ends = made["calibration"]["best_f1"][name], made["boundary_errors"]["classes"][name]
        row = [count if other != k else 0 for other, count in enumerate(confusion["counts"][k])]
        most = max(row, default=0)
        other = f"{confusion['classes'][row.index(most)]} ({most})" if most else ""
        off = [_number(ends[end]["50%"], 2) for end in ("start_sec", "end_sec")]
        at = _number(best["score"], 2)
        table.add_row(escape(name), _number(ap), _number(best["f1"]), at, *off, escape(other))
    _console().print(table)
    missed = f"{made['false_negatives']['missed_avg']:.1f} % of {counts['ground_truths']} actions are missed"
    _say(f"Normalised mAP {made['map_avg']:.2f}; {missed}. All of it: {path}")
    if (error := made["calibration"]["expected_error"]) is not None:
        _say(f"Scores differ from the share of right detections by {error:.1f} points.")


def _number(value, digits=1):
    """A number as text, "" for None."""
    return "" if value is None else f"{value:.{digits}f}"


def print_detections(name, detections, min_score=0.0):
    """Prints the detections of a recording in the order of time, at most MOST_DETECTIONS, the best ones.

    Args:
      name: of the recording.
      detections: [{"label", "segment": [start_sec, end_sec], "score"}].
      min_score: those with a lower score are not shown.
    """
    name, ranked = plain(name), sorted(detections, key=lambda d: -d["score"])
    shown = [d for d in ranked if d["score"] >= min_score]
    if not shown:
        count = f"{len(ranked)} detection{'s' * (len(ranked) > 1)}" if ranked else "no detection"
        best = f", the best with score {ranked[0]['score']:.2g}; " if ranked else ""
        hint = (
            f"--config.predict.min_score, now {min_score:g}, shows those with lower scores" if ranked else ""
        )
        _say(f"{name}: {count}{best}{hint}.")
        return
    left_out = f", the {MOST_DETECTIONS} best of {len(shown)}" if len(shown) > MOST_DETECTIONS else ""
    table = _table(f"{escape(name)}{left_out}", "start (s)", "end (s)", "what", "score")
    for d in sorted(shown[:MOST_DETECTIONS], key=lambda d: d["segment"]):
        start, end = d["segment"]
        table.add_row(f"{start:.2f}", f"{end:.2f}", escape(d["label"]), f"{d['score']:.2f}")
    _console().print(table)


def print_proposals(result, path):
    """Prints how many actions proposals find.

    Args:
      result: as `evaluation.proposals.evaluate_proposals` returns it; None where they could not be scored.
      path: the file of proposals.
    """
    counted = ""
    if result:
        title = "actions found by the proposals of the test subset (%)"
        _console().print(_found_table(title, {"proposals": result}))
        counts = result["counts"]
        counted = f"{counts['recordings']} recordings with {counts['ground_truths']} annotated actions, "
        counted += f"{counts['recordings_without_proposals']} of them without a proposal; "
        counted += f"{counts['recordings_left_out']} left out. "
    _say(f"{counted}Written: {path}")


def _console():
    """The terminal, where ":b:" in a name is no picture."""
    return Console(emoji=False)


def _found_table(title, results):
    """Table of average recall and recall at each tIoU, with a column for each entry of `results`.

    results: {heading: what `evaluate_proposals` returns}, all of the same numbers of proposals.
    """
    table, columns = _table(title, "", *results), results.values()
    average, recall = (next(iter(columns))[field] for field in ("ar", "recall"))
    for number in dict.fromkeys([*(n for n in NUMBERS if n in average), [*average][-1]]):
        table.add_row(f"AR@{number}", *(f"{column['ar'][number]:.2f}" for column in columns))
    table.add_row("AUC", *(f"{column['auc']:.2f}" for column in columns))
    table.add_section()
    for tiou in recall:
        table.add_row(f"recall at tIoU {tiou}", *(f"{column['recall'][tiou]:.1f}" for column in columns))
    table.add_row("number of proposals", *(str(column["counts"]["proposals"]) for column in columns))
    return table


def problems_of(lines):
    """The lines of `check_dataset` that are no notes."""
    return [line for line in lines if not line.startswith("Note:")]


def print_check(summary, lines):
    """Prints what `check_dataset` returns; returns the exit code, 1 if a line is a problem."""
    problems = problems_of(lines)
    for line in (*summary.split("\n"), *lines):
        print(plain(line))
    print(f"{len(problems)} problem(s) found." if problems else "No problem found.")
    return 1 if problems else 0
