"""Trials of a planned run: short trainings, scored on training recordings held out, choose its noise."""

import functools
import logging
import pathlib

from tal_jax import planned_run, train
from tal_jax.folds import folds_of, of_fold, training_recordings
from tal_jax.plan import Line

log = logging.getLogger(__name__)

NOISES = (0.1, 1.0)  # each is tried if the one before was better by LEAST_GAIN
LEAST_GAIN = 1.0  # points of mAP: less is chance
PARTS = 3  # of the recordings, of which one is held out


def train_best(config, lines, workdir, scored=True):
    """Trains a planned run, whose noise trials choose first where `config.plan.trials` says so.

    Args:
      config, lines: see `planned_run.planned`; lines of a config without a plan are empty.
      workdir, scored, and what it returns and raises: see `train.train`. Trials are in `<workdir>/trials`.
    """
    if lines and config.plan.trials:
        tried = _with_best_noise(config, lines, pathlib.Path(workdir))
        if tried is None:
            return None
        config, lines = tried
    return train.train(config, workdir, functools.partial(planned_run.write_plan, workdir, lines), scored)


def _with_best_noise(config, lines, workdir):
    """The config and the lines of a plan with the noise that scores best on recordings held out.

    A trial takes half of the epochs. Returns None if a signal stopped one.
    """
    config, scores, best = config.copy_and_resolve_references(), {}, NOISES[0]
    held_out, *others = folds_of(training_recordings(config), PARTS) or [[]]
    if not others:
        return config, lines
    for noise in NOISES:
        folder = workdir / "trials" / f"noise_{noise:g}"
        trial = of_fold(config, folder, held_out)
        trial.augment.noise = noise
        trial.train.epochs = (config.train.epochs + 1) // 2
        trial.train.warmup_epochs = config.train.warmup_epochs // 2
        log.info("Trial: noise %g, %d recordings held out.", noise, len(held_out))
        result = train.train(trial, folder)
        if result is None:
            return None
        scores[noise] = result["map_avg"]
        if noise > best and scores[noise] < scores[best] + LEAST_GAIN:
            break
        best = noise
    found = ", ".join(f"{score:.1f} with {noise:g}" for noise, score in scores.items())
    reason = f"of a channel's deviation; trials: mAP {found}, on {len(held_out)} recordings held out"
    log.info("The noise is %g %s.", best, reason)
    config.augment.noise, config.plan.trials = best, False
    chosen = {
        "augment.noise": Line("augment.noise", best, reason),
        "plan.trials": Line("plan.trials", False, "the trials are over"),
    }
    return config, [chosen.get(line.field, line) for line in lines]
