"""What ECM trains on: windows and their labels, these also as a list of fixed length."""

from tal_jax.systems.ecm.config import require_valid
from tal_jax.systems.ecm.losses import label_slots, num_slots
from tal_jax.systems.weak import multi_hot, weak_example, weak_windows


def training_examples(config, dataset):
    """The training windows and the function that makes an example of one.

    Args:
      config: the run's config (`data`, `window`, `augment`).
      dataset: data.features.Dataset; its training subset is used.

    Returns:
      (items, make_example): a list of WeakWindow, and (WeakWindow, np.random.Generator) -> example, a dict of
      inputs (T, C) and labels (K,), see `weak.weak_example`, and slots (S,) int32, see `losses.label_slots`.

    Raises:
      DataError: see `weak.weak_windows`.
    """
    require_valid(config)
    items, num_classes = weak_windows(config, dataset), len(dataset.annotations.classes)
    slots = num_slots([multi_hot(item.classes, num_classes) for item in items])

    def make_example(item, rng):
        example = weak_example(config, dataset, item, rng)
        return example | {"slots": label_slots(example["labels"][None], slots)[0]}

    return items, make_example
