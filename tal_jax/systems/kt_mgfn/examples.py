"""What KT-MGFN trains on: windows and their labels, and trimmed clips to transfer knowledge from."""

import numpy as np

from tal_jax.data import dataset_annotations
from tal_jax.data.augment import augment_sequence
from tal_jax.errors import DataError
from tal_jax.ops.snippets import window_snippets
from tal_jax.systems.weak import multi_hot, weak_example, weak_windows

WITHOUT_CLIPS = "or train a row without clips, such as ':kt_mgfn,row=cascade' after the config file"


def training_examples(config, dataset):
    """The training windows and the function that makes an example of one.

    Args:
      config: the run's config (`data`, `window`, `augment`, `model.transfer`).
      dataset: data.features.Dataset; its training subset is used, and for clips that of `data.clips_subset`.

    Returns:
      (items, make_example): a list of WeakWindow, and (WeakWindow, np.random.Generator) -> example, a dict of
      inputs (T, C) and labels (K,), see `weak.weak_example`; with transfer also clip_inputs (T, C) and
      clip_labels (K,) of a clip drawn at random.

    Raises:
      DataError: see `weak.weak_windows`; with transfer there is no clip.
    """
    items = weak_windows(config, dataset)
    clips = trimmed_clips(config, dataset) if config.model.transfer else []

    def make_example(item, rng):
        example = weak_example(config, dataset, item, rng)
        if clips:
            name, first, end, label = clips[rng.integers(len(clips))]
            snippets = window_snippets(config.window, dataset.read(name)[first:end], rng)
            a = config.augment
            example["clip_inputs"] = augment_sequence(
                snippets, rng, scale=a.scale, noise=a.noise, rotation_deg=a.rotation_deg
            )
            example["clip_labels"] = multi_hot([label], len(dataset.annotations.classes))
        return example

    return items, make_example


def trimmed_clips(config, dataset):
    """The annotated actions cut out: list of (recording, first feature, feature after the last, class).

    Raises:
      DataError: `data.clips_subset`, or the training subset where that is empty, has no recording, none with
        features, or no action with times.
    """
    subset = config.data.get("clips_subset") or config.data.train_subset
    clips, seen = [], False
    for name, recording in dataset.annotations.recordings.items():
        if recording.subset != subset:
            continue
        seen, num_features = True, len(dataset.read(name))
        cells = dataset.timeline(name).to_cells(recording.segments_sec)
        for (start, end), label in zip(cells, recording.labels):
            if np.isfinite(start + end):
                first = int(np.clip(round(start), 0, num_features - 1))
                clips.append((name, first, max(min(round(end), num_features), first + 1), int(label)))
    if not clips:
        raise DataError(f"{_why_no_clips(config, subset, seen)}, {WITHOUT_CLIPS}.")
    return clips


def _why_no_clips(config, subset, has_features):
    """A sentence on why the subset of trimmed clips has no clip, and what to do.

    has_features: whether the data set has features of a recording of it.
    """
    if has_features:
        return (
            f"No action of the subset '{subset}' has times, so there are no trimmed clips; name the subset "
            "that has them in config.data.clips_subset"
        )
    annotations = dataset_annotations(config)
    if any(recording.subset == subset for recording in annotations.recordings.values()):
        return f"No recording of '{subset}', the subset of trimmed clips, has features; add them"
    return (
        f"No recording has the subset '{subset}' of config.data.clips_subset; the annotations have "
        f"{annotations.subset_names()}. Add trimmed clips to them, name the subset of clips in "
        "config.data.clips_subset ('': the actions of the training subset, cut out by their times)"
    )
