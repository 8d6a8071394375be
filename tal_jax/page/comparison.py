"""Runs side by side on the same recordings: their mAP, and how sure the differences are."""

import numpy as np

from tal_jax.evaluation import bootstrap


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


def _alone(judged):
    """(R,) mAP in percent of each recording alone; NaN without truths."""
    return 100 * bootstrap.map_of_weights(judged.matches, np.eye(len(judged.names))).mean(axis=1)
