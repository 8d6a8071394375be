"""What a page shows, as a dict ready for JSON; page.html and its scripts draw it.

Its parts: `title`, `facts`, `config`, `summary`, `classes`, `runs`, `scores`, `curves`, `diagnosis`,
`training`, `comparison`, `recordings`, `threshold`, `notes`. A part that a page lacks is None or empty.
"""

import json

import numpy as np

from tal_jax.evaluation import bootstrap, detad
from tal_jax.evaluation.detection import precision_recall
from tal_jax.evaluation.figures import TYPE_COLORS, precision_at
from tal_jax.evaluation.look import COLORS
from tal_jax.evaluation.recordings import scored_recordings
from tal_jax.page import judged as judging
from tal_jax.page import recordings as rows
from tal_jax.page import signals
from tal_jax.page.comparison import compare

PAGE_BYTES = 2_900_000  # of a page, without media
FIXED_BYTES = 250_000  # of its text, style and scripts, and what has no room of its own
SIGNAL_SHARE = 0.45  # of the rest
PREDICTED_BYTES = 1_100_000  # of the signal on the page of one recording
RECALLS = np.linspace(0, 1, 41)  # at which a precision is told
ROOM_AFTER = 1.1  # of a recording whose length nothing says: the page shows a bit more than its actions
MISSED_COLOR = "#d4579e"
AGNOSTIC = (
    "This run tells no classes apart: what is corrected here would lose the classes of the annotations."
)
MOST_CURVES = 3000  # rows of precision; with more classes fewer thresholds
SAID = {
    "double detection": "an action is found a second time",
    "wrong label": "the time is right, the class is not",
    "localization": "the class is right, but start or end is off",
    "confusion": "the class is wrong, and start or end is off",
    "background": "something is found where nothing is annotated",
    "missed": "an annotated action is not found",
}


def of_run(
    title,
    config,
    annotations,
    runs,
    which,
    *,
    scores=None,
    diagnosis=None,
    training=None,
    facts=(),
    notes=(),
    differences=None,
    media=None,
    page="report.html",
):
    """The content of the page of one run, or of several side by side.

    Args:
      title: of the page.
      config: of the run; says how it is scored.
      annotations: `tal_jax.data.annotations.Annotations`, as for scoring.
      runs: {name: results}, the first one is that of the summary and the diagnosis; {} shows training alone.
      which: dict of `subset`, `left_out` and `missing`.
      scores, diagnosis: of the first run, see `evaluate_detections` and `diagnosis.diagnose`; None: none.
      training, facts, differences: see `run_facts`.
      notes: sentences at the end of the page.
      media: {recording: path of its video or sound}.
      page: the path that links to media count from.
    """
    tious = tuple(config.evaluate.tious)
    judged = {name: judging.judge(annotations, results, which, tious) for name, results in runs.items()}
    first = next(iter(judged.values()), None)
    made = {
        "title": title,
        "facts": facts,
        "config": differences,
        "runs": [*runs],
        "scores": scores,
        "curves": None,
        "diagnosis": diagnosis,
        "training": training,
        "comparison": compare(judged, tious) if len(runs) > 1 and first else None,
        "threshold": first and first.threshold and rows.short(first.threshold),
        "summary": [],
        **_always(annotations.classes, config.data.class_agnostic),
    }
    if first:
        made["curves"] = curves(config, annotations, next(iter(runs.values())), which)
        made["summary"] = summary(first, scores, diagnosis)
    used = FIXED_BYTES + len(json.dumps(made))
    made["recordings"], made["classes"], made["thinned"], said = _recordings(
        config, annotations, runs, judged, which, used, media or {}, page
    )
    made["notes"] = [*notes, *said]
    return made


def _always(classes, class_agnostic):
    """The parts that every page has: kinds of errors, colours, and how its recordings are corrected.

    classes: of the annotations; those of the page that follow them come from detections.
    """
    return {
        "types": list(detad.TYPES),
        "said": SAID,
        "colors": COLORS,
        "type_colors": TYPE_COLORS | {"missed": MISSED_COLOR},
        "tiou": judging.TIOU,
        "num_annotated": len(classes),
        "uncorrectable": AGNOSTIC if class_agnostic else "",
    }


def _recordings(config, annotations, runs, judged, which, used, media, page):
    """(rows of the page, names of classes, whether detections are left out, notes).

    used: bytes of the page that are gone.
    """
    names, notes = _names(annotations, runs, which), []
    index = {name: k for k, name in enumerate(annotations.classes)}
    known = annotations.recordings
    used += sum(120 + 24 * len(known[name].labels) for name in names)
    room = max(400_000, PAGE_BYTES - used)
    reader = rows.SignalReader(config, len(names))
    counts = np.array([len(found.get(name, ())) for name in names for found in runs.values()], int)
    share = SIGNAL_SHARE if not reader.problem else 0
    most = rows.most_of_each(counts, room * (1 - share)) if len(counts) else None
    if most:
        lost = int(np.maximum(counts - most, 0).sum())
        held = f"To keep the page small, it holds the {most} best detections of each recording"
        notes.append(f"{held}; {lost:,} of {counts.sum():,} are left out here, and counted in all scores.")
    left = room - rows.DETECTION_BYTES * np.minimum(counts, most or counts.max(initial=0)).sum()
    made = []
    for i, name in enumerate(names):
        recording, signal = known[name], reader.read(name)
        row = {
            "name": name,
            "entry": rows.entry_of(recording, config.data.ignored_labels),
            "truth": rows.truth_of(recording),
            "found": [
                rows.found_of(results.get(name, []), index, *_judgement(one, name), most)
                for results, one in zip(runs.values(), judged.values(), strict=True)
            ],
        }
        if signal:
            row["signal"] = signals.packed(*signal, min(left / (len(names) - i), 2_000_000))
            left -= sum(len(channel["data"]) for channel in row["signal"]["channels"])
        if name in media:
            row["media"] = rows.link(media[name], page)
        row["duration"], row["known"] = _length(recording, row, signal)
        made.append(row)
    if reader.problem and names:
        notes.append(reader.problem)
    return made, [*index], bool(most), notes


def _judgement(judged, name):
    """(types, found_at) of a recording, None each where nothing is judged."""
    return (judged.types.get(name), judged.found_at.get(name)) if judged else (None, None)


def curves(config, annotations, results, which):
    """Precision over recall of each class, as the AP by the config's protocol averages it.

    Args: see `of_run`; results: of one run.

    Returns:
      {"tious": T thresholds as texts, "classes": {class: T lists of precision in percent, at each of
      RECALLS}}; of very many classes the first threshold alone.
    """
    settings = config.evaluate
    how = dict(protocol=settings.protocol, devkit_keep=settings.devkit_keep)
    how |= dict(other_recordings=settings.other_recordings, tious=settings.tious)
    found, table, tious = precision_recall(annotations, results, **which, **how), {}, []
    for name, of_class in found.items():
        tious = [*of_class] if len(found) * len(of_class) <= MOST_CURVES else [*of_class][:1]
        at = [precision_at(RECALLS, *of_class[tiou]) for tiou in tious]
        table[name] = [np.round(100 * precision).astype(int).tolist() for precision in at]
    return {"tious": tious, "classes": table}


def _names(annotations, runs, which):
    """The recordings of a page, those that are scored, in file order. Of several runs all have the same."""
    return [*scored_recordings(annotations, next(iter(runs.values())), **which)[0]] if runs else []


def _length(recording, row, signal=None):
    """(seconds that the page shows of a recording, whether it lasts so long).

    Where neither the Recording nor its signal says it, a bit more than its actions take is shown.
    """
    if recording.duration_sec:
        return round(recording.duration_sec, 3), True
    if signal:
        values, start_sec, sample_sec = signal
        return round(start_sec + len(values) * sample_sec, 3), True
    ends = [end for columns in (row["truth"], *row["found"]) for end in columns["end"]]
    return round(ROOM_AFTER * max([1000, *ends]) / 1000, 3), False


def of_prediction(
    name,
    recording,
    detections,
    classes,
    threshold,
    *,
    page,
    signal=None,
    cas=None,
    media=None,
    class_agnostic=False,
):
    """The content of the page of one recording that a run has detected in.

    Args:
      name: of the recording.
      recording: its Recording; one that is annotated shows its truths.
      detections: [{"label", "segment", "score"}].
      classes: of the run.
      threshold: score from which on detections are shown at first.
      page, media: see `rows.link`; a recording may have no media.
      signal: what `signals.packed` returns in PREDICTED_BYTES, or None.
      cas: activation sequences, (times_sec (T,), (T, K)), or None.
      class_agnostic: whether the run tells no classes apart.
    """
    index = {label: k for k, label in enumerate(classes)}
    room = PAGE_BYTES - FIXED_BYTES - 24 * len(recording.labels)
    counts = np.array([len(detections)])
    most = rows.most_of_each(counts, room / 3)
    row = {
        "name": name,
        "entry": rows.entry_of(recording),
        "truth": rows.truth_of(recording),
        "found": [rows.found_of(detections, index, most=most)],
    }
    if not len(recording.labels):
        row["entry"]["subset"] = "train"  # to learn from, once it is corrected
    if signal:
        row["signal"] = signal
    if cas:
        times_sec, values = cas
        step_sec = float(times_sec[1] - times_sec[0]) if len(times_sec) > 1 else 1.0
        first_sec = times_sec[0] - step_sec / 2
        row["cas"] = signals.packed(values, first_sec, step_sec, room / 5, names=[*classes])
    if media:
        row["media"] = rows.link(media, page)
    row["duration"], row["known"] = _length(recording, row)
    notes = [f"The page holds the {most} best of {len(detections):,} detections."] if most else []
    return {
        "title": name,
        "predicted": True,
        "runs": [""],
        "classes": [*index],
        "recordings": [row],
        "threshold": threshold,
        "thinned": bool(most),
        "notes": notes,
        **_always(classes, class_agnostic),
    }


def summary(judged, scores, diagnosis):
    """The first things to know: sentences, with where to look.

    Args:
      judged: Judged.
      scores: of `evaluate_detections`, or None.
      diagnosis: of `diagnosis.diagnose`, or {"problem"}.

    Returns:
      list of {"text": sentence, and perhaps "recording", "time" (s), "label", "score": what a click opens}.
    """
    if not scores:
        return []
    said = [{"text": _score_text(judged, scores)}]
    ap = {name: np.mean([*row.values()]) for name, row in scores["ap"].items() if name in judged.classes}
    if not ap:
        return said
    worst = min(ap, key=ap.get)
    best_f1 = (diagnosis or {}).get("calibration", {}).get("best_f1", {}).get(worst, {})
    threshold = best_f1.get("score") or judged.threshold or 0.0
    if ap[worst] > 99.95:
        return [*said, {"text": "Every class has an AP of 100 %."}]
    said.append({"text": f"The weakest class is {worst}: AP {ap[worst]:.1f} %.", "label": worst})
    return said + _error_lines(judged, worst, threshold)


def _score_text(judged, scores):
    """The sentence of the mAP, with its interval where there is one."""
    tious = f"{len(scores['map'])} threshold{'s' * (len(scores['map']) > 1)} of tIoU"
    by = f"mAP is {scores['map_avg']:.1f} %, the mean over {tious}"
    sure = map_interval(judged, scores)
    return f"{by}; 95 % interval over recordings: {sure[0]:.1f} to {sure[1]:.1f}." if sure else f"{by}."


def map_interval(judged, scores):
    """(low, high) in percent, the 95 % interval of the mAP over draws of recordings; or None.

    There is none of fewer than `bootstrap.FEWEST` recordings, of so many detections that it takes too long,
    and where the score counts what `judged` does not have: another protocol, or detections on other
    recordings.
    """
    count, of_all = bootstrap.resamples(judged.matches), np.ones((1, len(judged.names)))
    if (
        len(judged.names) < bootstrap.FEWEST
        or count < bootstrap.LEAST
        or scores["protocol"]["name"] != "activitynet"
    ):
        return None
    if not np.isclose(100 * bootstrap.map_of_weights(judged.matches, of_all).mean(), scores["map_avg"]):
        return None
    draws = bootstrap.draws(len(judged.names), count)
    return bootstrap.interval(100 * bootstrap.map_of_weights(judged.matches, draws).mean(axis=1))


def _error_lines(judged, worst, threshold):
    """The lines of `summary` on the errors of a class from a score on."""
    errors = judging.errors_of(judged, judged.classes.index(worst), threshold)
    if not errors:
        return [{"text": f"It has no error at tIoU {judged.tiou:g} from score {threshold:.2g} on."}]
    kinds = [error.kind for error in errors]
    kind = max({*kinds}, key=lambda one: (kinds.count(one), one))
    chosen = [error for error in errors if error.kind == kind]
    count = f"{len(chosen)} of its {len(errors)} error{'s' * (len(errors) > 1)}"
    why = f"{kind}; {count} from score {threshold:.2g} on"
    classes = [error.overlaps for error in chosen if error.overlaps not in ("", worst)]
    on = f", most often on {max(dict.fromkeys(classes), key=classes.count)}" if classes else ""
    places = [error.recording for error in chosen]
    where = max(dict.fromkeys(places), key=places.count)
    time = min(error.time_sec for error in chosen if error.recording == where)
    count = f"{places.count(where)} of them, the first" if places.count(where) > 1 else "one"
    there = {"recording": where, "time": time, "label": worst, "score": rows.short(threshold)}
    return [
        {"text": f"Its commonest error: {SAID[kind]} ({why}{on})."},
        {"text": f"Look at {where}, which has {count} at {time:.0f} s."} | there,
    ]
