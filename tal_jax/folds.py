"""Folds of the training recordings of a planned run, by subject."""

import json

import numpy as np

from tal_jax import data
from tal_jax.fingerprint import groups_of
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json


def training_recordings(config):
    """name -> Recording of the training subset that is used: it has features, and is not left out."""
    return data.load_dataset(config).annotations.subset(config.data.train_subset).recordings


def folds_of(recordings, most):
    """The folds of recordings: lists of names, `most` of them, or fewer so that each has actions.

    Groups are whole, see `fingerprint.groups_of`. The one with most actions goes first, always to the fold
    with the fewest. There is no fold where fewer than two groups have actions with times.

    recordings: name -> Recording.
    """
    groups = groups_of(recordings)
    count = lambda names: sum(np.isfinite(recordings[name].segments_sec).all(axis=1).sum() for name in names)
    with_actions = sum(count(names) > 0 for names in groups)
    folds = [[] for _ in range(min(most, with_actions))] if with_actions > 1 else []
    for names in sorted(groups, key=count, reverse=True) if folds else []:
        min(folds, key=lambda fold: (count(fold), len(fold))).extend(names)
    return folds


def of_fold(config, folder, held_out):
    """A config whose test recordings are those of a fold, and whose training recordings are all others.

    Writes `<folder>/annotations.json`.

    Args:
      config: of a data set of the user's own.
      folder: of the run of the fold.
      held_out: names of training recordings.
    """
    content = read_json(config.data.annotations, "annotation file")
    entries = {}
    for name in training_recordings(config):
        subset = config.data.test_subset if name in held_out else config.data.train_subset
        entries[name] = content["database"][name] | {"subset": subset}
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "annotations.json") as temporary:
        temporary.write_text(json.dumps(content | {"database": entries}))
    config = config.copy_and_resolve_references()
    config.data.annotations = str(folder / "annotations.json")
    config.data.left_out = ()  # the file does not have them
    return config
