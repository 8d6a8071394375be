"""What a person reads on the terminal: tables of scores and of detections."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tal_jax.errors import plain
from tal_jax.evaluation.detection import DENSE


def print_evaluation(result, path):
    """Prints mAP, the AP of every class, and what proposals find; `result` as the file at `path` holds it,
    None prints nothing.
    """
    if result is None:
        return
    tious, counts = list(result["map"]), result["counts"]
    table = Table(title=f"AP (%) by tIoU, protocol {result['protocol']['name']}{_which_recordings(result)}")
    table.add_column("class")
    for column in (*tious, "average"):
        table.add_column(column, justify="right")
    for name, row in result["ap"].items():
        table.add_row(escape(name), *(f"{row[t]:.1f}" for t in tious), f"{sum(row.values()) / len(row):.1f}")
    table.add_section()
    table.add_row(
        "mAP", *(f"{result['map'][t]:.2f}" for t in tious), f"{result['map_avg']:.2f}", style="bold"
    )
    console = Console()
    console.print(table)
    console.print(
        f"{counts['detections']} detections in {counts['recordings']} recordings with "
        f"{counts['ground_truths']} annotated actions. "
        f"All counts: {path}",
        highlight=False,
        soft_wrap=True,
    )
    absent = result["protocol"]["recordings_missing"]
    if absent:
        missed = result["protocol"]["missing"] == "missed"
        score = "their actions count as missed" if missed else "they are left out"
        what = f"Recordings without features or not in the file: {len(absent)}, the first is '{absent[0]}'"
        line = f"{what}; {score} (config.evaluate.missing)."
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    absent = result["protocol"]["classes_not_scored"]
    if absent:
        line = f"Classes without an action in the subset, not scored: {', '.join(absent)}."
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if counts["ignored_intervals"]:
        line = f"Intervals with an ignored label (config.data.ignored_labels): {counts['ignored_intervals']}."
        console.print(line, highlight=False, soft_wrap=True)
    for why, number in counts["detections_ignored"].items():
        if number:
            console.print(f"{number} detections ignored: {why.replace('_', ' ')}.", highlight=False)
    dense = counts.get("detections_per_truth_found", 0)
    if dense >= DENSE:
        line = (
            f"These detections are dense: {dense:.1f} of its class overlap each action that is found. The "
            f"devkit gives an action the "
            "one of highest overlap, whatever its score, and counts the others as false. Suppress first "
            "(--config.evaluate.devkit_keep=0.5), or score by --config.evaluate.protocol=activitynet."
        )
        console.print(line, highlight=False, soft_wrap=True)
    if "proposals" in result:
        console.print(_found_table("actions found, whatever their class (%)", result["proposals"]))


def _which_recordings(result):
    """A line of a title: of how many recordings a score is; nothing where it is of all and none is missing."""
    counts, protocol = result["counts"], result["protocol"]
    missed = len(protocol["recordings_missing"]) if protocol["missing"] == "missed" else 0
    if counts["recordings"] == counts["recordings_of_subset"] and not missed:
        return ""
    scored = f"\n{counts['recordings']} of {counts['recordings_of_subset']} recordings"
    return f"{scored}, {missed} of them missed" if missed else scored


def print_detections(name, detections, min_score=0.0, most=40):
    """Prints detections of at least `min_score` in the order of time, at most the `most` best of them; or
    that there is none.
    """
    name, best = plain(name), sorted((d["score"] for d in detections), reverse=True)
    detections = [d for d in detections if d["score"] >= min_score]
    if not detections:
        count = (
            f"{len(best)} detection{'s' * (len(best) > 1)}, the best with score {best[0]:.2g}"
            if best
            else "no detection"
        )
        hint = (
            f"; --config.predict.min_score, now {min_score:g}, shows those with lower scores" if best else ""
        )
        Console().print(f"{name}: {count}{hint}.", highlight=False, markup=False, soft_wrap=True)
        return
    best = sorted(detections, key=lambda d: -d["score"])[:most]
    left_out = f", the {most} best of {len(detections)}" if len(detections) > most else ""
    table = Table(title=f"{escape(name)}{left_out}")
    for column, justify in (
        ("start (s)", "right"),
        ("end (s)", "right"),
        ("what", "left"),
        ("score", "right"),
    ):
        table.add_column(column, justify=justify)
    for detection in sorted(best, key=lambda d: d["segment"]):
        start, end = detection["segment"]
        table.add_row(f"{start:.2f}", f"{end:.2f}", escape(detection["label"]), f"{detection['score']:.2f}")
    Console().print(table)


def print_proposals(result, path):
    """Prints how many actions proposals find; `result` as `evaluate_proposals` gives it, or None; path: where
    they are.
    """
    console, counted = Console(), ""
    if result:
        console.print(
            _found_table("actions found by the proposals of the test subset (%)", {"proposals": result})
        )
        counts = result["counts"]
        without, left_out = counts["recordings_without_proposals"], counts["recordings_left_out"]
        counted = f"{counts['recordings']} recordings with {counts['ground_truths']} annotated actions, "
        counted += f"{without} of them without a proposal; {left_out} left out. "
    console.print(f"{counted}Written: {path}", highlight=False, soft_wrap=True)


def _found_table(title, results):
    """Table with a column for each of `results` {heading: as `evaluate_proposals` gives it, of the same
    numbers of proposals}.
    """
    table = Table(title=title)
    table.add_column("")
    for heading in results:
        table.add_column(heading, justify="right")
    first = next(iter(results.values()))
    for number in dict.fromkeys(
        [*(n for n in ("1", "5", "10", "50", "100") if n in first["ar"]), list(first["ar"])[-1]]
    ):
        table.add_row(f"AR@{number}", *(f"{result['ar'][number]:.2f}" for result in results.values()))
    table.add_row("AUC", *(f"{result['auc']:.2f}" for result in results.values()))
    table.add_section()
    for tiou in first["recall"]:
        table.add_row(
            f"recall at tIoU {tiou}", *(f"{result['recall'][tiou]:.1f}" for result in results.values())
        )
    table.add_row("number of proposals", *(str(result["counts"]["proposals"]) for result in results.values()))
    return table


def print_check(summary, lines):
    """Prints what `check_dataset` found, the summary first; returns the exit code, 1 if something is wrong."""
    problems = [line for line in lines if not line.startswith("Note:")]
    for line in (*summary.split("\n"), *lines):
        print(plain(line))
    print(f"{len(problems)} problem(s) found." if problems else "No problem found.")
    return 1 if problems else 0
