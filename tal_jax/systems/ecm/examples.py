"""What ECM trains on: windows and their labels, these also as a list of fixed length."""

from tal_jax.systems.ecm.losses import label_slots
from tal_jax.systems.weak import weak_example, weak_windows


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
    items = weak_windows(config, dataset)
    num_slots = max(len(item.classes) for item in items)

    def make_example(item, rng):
        return weak_example(config, dataset, item, rng) | {"slots": label_slots(item.classes, num_slots)}

    return items, make_example
