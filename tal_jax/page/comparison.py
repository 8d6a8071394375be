"""Runs side by side on the same recordings: their mAP, and how sure the differences are."""

import numpy as np
from markupsafe import Markup

from tal_jax.evaluation import bootstrap
from tal_jax.page.charts import number, signed


def compare(judged, tious):
    """Compares runs with the first one.

    The same recordings are drawn for all, so a hard recording does not count as a difference.

    Args:
      judged: {run: Judged}, of the same recordings, two at least.
      tious: T thresholds.

    Returns:
      {"tious", "resamples", "runs": [{"map" (T,), "map_avg", "difference", "interval"}], "recordings":
      [{"name", "values"}]}: percent, and points of mAP; `values` has the mAP of each run on a recording with
      truths, scored alone, and the recordings that differ most come first.
    """
    first = next(iter(judged.values()))
    count = max(bootstrap.LEAST, min(bootstrap.resamples(one.matches) for one in judged.values()))
    draws = bootstrap.draws(len(first.names), count)
    drawn = [100 * bootstrap.map_of_weights(one.matches, draws).mean(axis=1) for one in judged.values()]
    runs = []
    for one, of_draws in zip(judged.values(), drawn, strict=True):
        of_all = 100 * bootstrap.map_of_weights(one.matches, np.ones((1, len(one.names))))[0]
        base = runs[0]["map_avg"] if runs else of_all.mean()
        runs.append(
            {
                "map": of_all.tolist(),
                "map_avg": float(of_all.mean()),
                "difference": float(of_all.mean() - base),
                "interval": bootstrap.interval(of_draws - drawn[0])
                if len(first.names) >= bootstrap.FEWEST
                else None,
            }
        )
    alone = np.stack([_alone(one) for one in judged.values()], axis=1)  # (R, runs)
    change = np.abs(alone - alone[:, :1]).max(axis=1)
    order = [i for i in np.argsort(-change, kind="stable") if np.isfinite(alone[i]).all()]
    return {
        "tious": [f"{tiou:g}" for tiou in tious],
        "resamples": len(draws),
        "runs": runs,
        "recordings": [
            {"name": first.names[i], "values": [round(float(value), 2) for value in alone[i]]} for i in order
        ],
    }


def shown(compared, runs, places):
    """What a page says of what `compare` returns: {"said": sentences, "tables": [(caption, heads, rows)]}.

    runs: names; places: {recording: its number on the page}. `compared` may have "fields", what differs
    between the configs of runs: {"runs": names, "rows": see `run_facts.differing`}.
    """
    base, *others = runs
    said = [_sentence(name, base, one) for name, one in zip(others, compared["runs"][1:], strict=True)]
    rows = []
    for name, run in zip(runs, compared["runs"], strict=True):
        more = [signed(run["difference"]), _interval(run["interval"])] if rows else ["–", "–"]
        rows.append([name, *(number(value, 2) for value in run["map"]), number(run["map_avg"], 2), *more])
    heads = ["run", *compared["tious"], "average", f"− {base}", "95 % interval"]
    tables = [("mAP (%) by run", heads, rows)]
    rows, link = [], Markup('<a href="#recording-{}">{}</a>')
    for one in compared["recordings"]:
        name, (first, *more) = one["name"], one["values"]
        differences = [signed(value - first) for value in more]
        rows.append([link.format(places[name], name), *map(number, one["values"]), *differences])
    heads = ["recording", *runs, *(f"{name} − {base}" for name in others)]
    tables.append(("mAP (%) of each recording alone", heads, rows))
    if fields := compared.get("fields"):
        tables.append(("Fields of the configs that differ", ["field", *fields["runs"]], fields["rows"]))
    return {"said": said, "tables": tables}


def _interval(ends):
    return " to ".join(map(signed, ends)) if ends else "–"


def _sentence(name, base, run):
    """How a run compares with the first one."""
    points, ends = f"{signed(run['difference'])} points", run["interval"]
    if not ends:
        few = "these recordings are too few to say how sure that is"
        return f"{name} differs from {base} by {points}; {few}."
    unsure = f"{name} and {base} cannot be told apart on these recordings"
    better = f"{name} is {'better' if ends[0] > 0 else 'worse'} than {base}"
    return f"{better if ends[0] > 0 or ends[1] < 0 else unsure}: {points}, 95 % interval {_interval(ends)}."


def _alone(judged):
    """(R,) mAP in percent of each recording alone; NaN without truths."""
    return 100 * bootstrap.map_of_weights(judged.matches, np.eye(len(judged.names))).mean(axis=1)
