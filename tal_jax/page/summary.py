"""The first things to know of a run, as sentences."""

import numpy as np

from tal_jax.evaluation import bootstrap
from tal_jax.page import judged as judging
from tal_jax.page.recordings import short

SAID = {
    "double detection": "an action is found a second time",
    "wrong label": "the time is right, the class is not",
    "localization": "the class is right, but start or end is off",
    "confusion": "the class is wrong, and start or end is off",
    "background": "something is found where nothing is annotated",
    "missed": "an annotated action is not found",
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
    there = {"recording": where, "time": time, "label": worst, "score": short(threshold)}
    return [
        {"text": f"Its commonest error: {SAID[kind]} ({why}{on})."},
        {"text": f"Look at {where}, which has {count} at {time:.0f} s."} | there,
    ]
