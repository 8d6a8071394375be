"""ActionFormer (ECCV 2022), also with the dynamic weights of DW-AFSD, and its kin without attention."""

import jax.numpy as jnp
import numpy as np

from tal_jax.data import whole_recordings
from tal_jax.errors import DataError
from tal_jax.systems.actionformer.config import reading, require_classes
from tal_jax.systems.actionformer.model import ActionFormer, Backbone, require_width
from tal_jax.systems.candidates import Deployment

DEPLOYED_WINDOWS = 8  # training windows that the longest recording of an export lasts


def build(config, num_classes):
    """The Flax module that a config describes. num_classes: K. Raises DataError."""
    require_classes(config, num_classes)
    dtype = jnp.bfloat16 if config.train.mixed_precision else jnp.float32
    terms = ["cls", "loc"] + ["auxiliary"] * (config.curriculum.auxiliary != "none")
    return ActionFormer(
        num_classes,
        Backbone(config.window.frames, **config.backbone, dtype=dtype),
        **config.model,
        normalisers=tuple((name, config.loss.normaliser) for name in terms),
        auxiliary=config.curriculum.auxiliary == "branch",
        padding_mask=reading(config, "padding_mask"),
    )


def test_windows(config, dataset, name):
    """The one test window of a recording, for `System.windows`: see `whole_recordings.test_windows`."""
    return whole_recordings.test_windows(config, dataset, name, 2**config.backbone.branch_blocks)


def deployment(config):
    """The candidates.Deployment of whole recordings, of up to `DEPLOYED_WINDOWS` training windows.

    Raises DataError for recordings that are resized, and for voting.
    """
    for field, used in (
        ("window.resized", config.window.resized),
        ("decode.voting_tiou", config.decode.voting_tiou),
    ):
        if used:
            what_to_do = "use tal_jax.load_run there" if config.window.resized else f"set config.{field} to 0"
            raise DataError(f"A run with config.{field}={used} cannot be exported; {what_to_do}.")
    size, multiple = config.window.frames, 2**config.backbone.branch_blocks
    lengths = {
        whole_recordings.padded_length(n * size // 8, size, multiple)
        for n in range(1, 8 * DEPLOYED_WINDOWS + 1)
    }
    settings = config.decode
    return Deployment(
        tuple(sorted(lengths)),
        stride=0,
        suppression=dict(keep_last=reading(config, "decode.keep_last"), keep_best=True),
        together=not settings.per_class,
        most=settings.max_per_recording,
    )


def problems(config, dataset):
    """Sentences on what training would not learn, for `System.problems`: see `whole_recordings.problems`.

    A last one says which classes have no training action, where `model.empty_classes` says otherwise. Raises
    DataError where the network does not fit the classes or the features.
    """
    sentences, annotations = whole_recordings.problems(config, dataset), dataset.annotations
    recordings = annotations.subset(config.data.train_subset).recordings
    require_classes(config, len(annotations.classes))
    require_width(dataset.read(next(iter(recordings))).shape[-1], config.backbone.input_channels)
    counts = sum(np.bincount(r.labels, minlength=len(annotations.classes)) for r in recordings.values())
    empty, listed = np.flatnonzero(counts == 0).tolist(), tuple(config.model.empty_classes)
    if set(empty) != set(listed):
        numbers = ",".join(map(str, empty))
        found = f"the classes without a training action have the numbers {numbers}"
        found = found if empty else "each class has a training action"
        what_to_do = f"set --config.model.empty_classes={numbers}"
        sentences.append(f"Note: config.model.empty_classes is {listed}, but {found}; {what_to_do}.")
    return sentences
