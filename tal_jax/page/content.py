"""What a page shows, as a dict ready for JSON; `write.py` makes the page of it.

Its parts: `title`, `facts`, `config`, `summary`, `classes`, `runs`, `scores`, `curves`, `diagnosis`,
`training`, `comparison`, `recordings`, `threshold`, `range` (of scores), `judged` (whether detections are),
`notes`, and what `_always` adds. A part that a page lacks is None or empty.
"""

import json
import math

import numpy as np

from tal_jax.evaluation import detad
from tal_jax.evaluation.detection import precision_recall
from tal_jax.evaluation.figures import precision_at
from tal_jax.evaluation.look import COLORS
from tal_jax.evaluation.recordings import scored_recordings
from tal_jax.page import judged as judging
from tal_jax.page import recordings as rows
from tal_jax.page import signals, write
from tal_jax.page.comparison import compare
from tal_jax.page.summary import SAID, summary

PAGE_BYTES = 2_900_000  # of a page, without media
PREDICTED_TEXT = 60_000  # of it for the text, style and scripts of the page of one recording
ROW_BYTES = 500  # of a recording, but for its actions and the bytes of its signal, about
LEAST_BYTES = 100_000  # for detections and signals, however much there is of all else
SIGNAL_SHARE = 0.45  # of these
PREDICTED_BYTES = 1_100_000  # of the signal on the page of one recording
RECALLS = np.linspace(0, 1, 41)  # at which a precision is told
ROOM_AFTER = 1.1  # of a recording whose length nothing says: the page shows a bit more than its actions
AGNOSTIC = (
    "This run tells no classes apart: what is corrected here would lose the classes of the annotations."
)


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
    first, names = next(iter(judged.values()), None), _names(annotations, runs, which)
    found = [one for results in runs.values() for name in names for one in results.get(name, ())]
    made = {
        "title": title,
        "config_name": config.get("name", ""),
        "facts": facts,
        "config": differences,
        "runs": [*runs],
        "scores": scores,
        "curves": curves(config, annotations, next(iter(runs.values())), which) if first else None,
        "diagnosis": diagnosis,
        "training": training,
        "comparison": compare(judged, tious) if len(runs) > 1 and first else None,
        "threshold": first and first.threshold and rows.short(first.threshold),
        "judged": bool(first),
        "summary": summary(first, scores, diagnosis) if first else [],
        "recordings": [_known(annotations.recordings[name], config, judged.values()) for name in names],
        "notes": notes,
        **_always(annotations.classes, found, config.data.class_agnostic),
    }
    room = max(LEAST_BYTES, PAGE_BYTES - len(write.page_text(made).encode()) - ROW_BYTES * len(names))
    said = _add_found(made, config, annotations, runs, judged, room)
    for row in made["recordings"]:
        if row["name"] in (media or {}):
            row["media"] = rows.link(media[row["name"]], page)
    return made | {"notes": [*notes, *said]}


def empty(title, note):
    """The content of the page of a run that has not begun."""
    always = _always((), (), class_agnostic=False)
    return {"title": title, "runs": [], "recordings": [], "judged": False, "notes": [note], **always}


def _always(annotated, found, class_agnostic):
    """The parts that every page has: classes, what is said of detections, how recordings are corrected.

    Args:
      annotated: classes of the annotations; those that are only detected follow them on the page.
      found: detections of all runs, [{"label", "segment", "score"}].
      class_agnostic: whether the run tells no classes apart.
    """
    scores = [one["score"] for one in found]
    return {
        "classes": [*dict.fromkeys([*annotated, *(one["label"] for one in found)])],
        "range": [rows.short(min([0, *scores])), rows.short(max([1e-6, *scores]))],
        "verdicts": dict(enumerate(["right", *detad.TYPES[1:]])) | {judging.NOT_COUNTED: "not scored"},
        "said": SAID,
        "colors": len(COLORS),
        "tiou": judging.TIOU,
        "num_annotated": len(annotated),
        "uncorrectable": AGNOSTIC if class_agnostic else "",
    }


def _known(recording, config, judged):
    """What a page has of a recording before anything is detected in it. judged: of each run, or None."""
    found_at = [one.found_at[recording.name] for one in judged if one]
    entry = rows.entry_of(recording, config.data.ignored_labels)
    return {"name": recording.name, "entry": entry, "truth": rows.truth_of(recording, found_at)}


def _add_found(made, config, annotations, runs, judged, room):
    """Adds detections, signals and lengths to the recordings of a content, and returns notes on them.

    room: bytes that detections and signals may take.
    """
    index, recordings = {name: k for k, name in enumerate(made["classes"])}, made["recordings"]
    reader, notes = rows.SignalReader(config, len(recordings)), []
    counts = [len(results.get(row["name"], ())) for row in recordings for results in runs.values()]
    share, counts = 0 if reader.problem else SIGNAL_SHARE, np.array(counts, int)
    most = rows.most_of_each(counts, room * (1 - share)) if len(counts) else None
    room -= rows.DETECTION_BYTES * np.minimum(counts, most or counts.max(initial=0)).sum()
    for i, row in enumerate(recordings):
        name = row["name"]
        signal = reader.read(name)
        row["found"] = [
            rows.found_of(results.get(name, []), index, one and one.types.get(name), most)
            for results, one in zip(runs.values(), judged.values(), strict=True)
        ]
        if signal:
            row["signal"] = signals.packed(*signal, most_bytes=min(room / (len(recordings) - i), 2_000_000))
            room -= sum(len(channel["data"]) for channel in row["signal"]["channels"])
        row |= _length(annotations.recordings[name], row, signal)
    if most:
        lost = np.maximum(counts - most, 0).sum()
        wrong = sum(found["rest"] for row in recordings for found in row["found"])
        held = f"To keep the page small, it holds the {most} best detections of each recording"
        out = f"{lost:,} of {counts.sum():,}, {wrong:,} of them wrong, are left out here"
        notes.append(f"{held}; {out}, and counted in all scores.")
    if reader.problem and recordings:
        notes.append(reader.problem)
    return notes


def curves(config, annotations, results, which):
    """Precision over recall of each class, as the AP by the config's protocol averages it.

    Args: see `of_run`; results: of one run.

    Returns:
      {"tious": T thresholds as texts, "classes": {class: T lists of precision in percent, at each of
      RECALLS}}.
    """
    settings = config.evaluate
    how = dict(protocol=settings.protocol, devkit_keep=settings.devkit_keep)
    how |= dict(other_recordings=settings.other_recordings, tious=settings.tious)
    table = {}
    for name, of_class in precision_recall(annotations, results, **which, **how).items():
        at = [precision_at(RECALLS, *lines) for lines in of_class.values()]
        table[name] = [np.round(100 * precision).astype(int).tolist() for precision in at]
    return {"tious": [f"{tiou:g}" for tiou in settings.tious], "classes": table}


def _names(annotations, runs, which):
    """The recordings of a page, those that are scored, in file order. Of several runs all have the same."""
    return [*scored_recordings(annotations, next(iter(runs.values())), **which)[0]] if runs else []


def _length(recording, row, signal=None):
    """{"duration": seconds that the page shows of a recording, "last": ms that it lasts, None: nobody knows}.

    Where neither the Recording nor its signal says it, a bit more than its actions take is shown.
    """
    seconds = recording.duration_sec
    if not seconds and signal:
        values, start_sec, sample_sec, _ = signal
        seconds = round(start_sec + len(values) * sample_sec, 3)
    if seconds:
        return {"duration": round(seconds, 3), "last": math.floor(1000 * seconds + 1e-6)}
    ends = [end for found in (row["truth"], *(f["rows"] for f in row["found"])) for _, _, end, *_ in found]
    return {"duration": round(ROOM_AFTER * max([1000, *ends]) / 1000, 3), "last": None}


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
    ignored_labels=(),
    learns=True,
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
      ignored_labels: as in `config.data`.
      learns: whether the run was trained. A corrected file then lists all its classes.
    """
    always = _always(classes, detections, class_agnostic)
    always["num_annotated"] = len(classes) if learns else 0
    index = {label: k for k, label in enumerate(always["classes"])}
    room = PAGE_BYTES - PREDICTED_TEXT - 24 * len(recording.labels) - len(json.dumps(always))
    most = rows.most_of_each(np.array([len(detections)]), room / 3)
    row = {
        "name": name,
        "entry": rows.entry_of(recording, ignored_labels),
        "truth": rows.truth_of(recording),
        "found": [rows.found_of(detections, index, most=most)],
    }
    if signal:
        row["signal"] = signal
    if cas:
        times_sec, values = cas
        step_sec = float(times_sec[1] - times_sec[0]) if len(times_sec) > 1 else 1.0
        first_sec = times_sec[0] - step_sec / 2
        row["cas"] = signals.packed(values, first_sec, step_sec, classes, room / 5, keeps_all=True)
    if media:
        row["media"] = rows.link(media, page)
    row |= _length(recording, row)
    notes = [f"The page holds the {most} best of {len(detections):,} detections."] if most else []
    return {
        "title": name,
        "predicted": True,
        "runs": [""],
        "recordings": [row],
        "threshold": threshold,
        "judged": False,
        "notes": notes,
        **always,
    }
