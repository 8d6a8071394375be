"""Proposals for two-stage systems, made by a trained run, and the first stage of a config that has none."""

import logging
import pathlib

from tal_jax import evaluate, train
from tal_jax.data import proposals
from tal_jax.detect import find_candidates, make_detector
from tal_jax.evaluation.proposals import evaluate_proposals

log = logging.getLogger(__name__)


def propose(config, workdir):
    """Writes `<workdir>/proposals.json`: the best candidates of a trained run, before suppression, on all its recordings.

    Args:
      config: the run's config (`propose`).
      workdir: its folder.

    Returns:
      The scores of the proposals on the test subset, see `evaluation.proposals.evaluate_proposals`.

    Raises:
      DataError: a sentence for the user.
    """
    stream = evaluate.load_stream(config, workdir)
    config, _, dataset = stream
    detector = make_detector([config], len(dataset.annotations.classes))
    names = list(dataset.annotations.recordings)
    log.info("Making proposals on %d recordings.", len(names))
    candidates = find_candidates(detector, [stream], names)
    settings = config.propose
    found = proposals.propose(candidates, dataset.annotations, most=settings.most, nms_tiou=settings.nms_tiou)
    proposals.write_proposals(path_of(workdir), found, dataset.annotations)
    return evaluate_proposals(dataset.annotations, found, subset=config.data.test_subset, most=settings.most)


def path_of(workdir):
    """Where `propose` writes."""
    return pathlib.Path(workdir) / "proposals.json"


def with_first_stage(config, workdir):
    """Sets `config.proposals` to those of `config.first_stage`, where nothing else was said; trains it where it is not there yet.

    Returns:
      Whether the proposals are there; not if a signal stopped the first stage.
    """
    if config.get("proposals") != "" or "first_stage" not in config:
        return True
    folder = pathlib.Path(workdir) / "first_stage"
    if not path_of(folder).exists():
        log.info("No config.proposals: training the first stage, %s, in %s.", config.first_stage.system, folder)
        if train.train(config.first_stage, folder) is None:
            return False
        propose(config.first_stage, folder)
    config.proposals = str(path_of(folder))
    return True
