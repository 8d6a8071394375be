"""The published checkpoints of P-GCN, by the names they have there, as a tree for `model.PGCN`."""

import jax
import numpy as np

from tal_jax.errors import DataError
from tal_jax.published.trees import PublishedDetector, channel_field, first_kernel_shape, renamed
from tal_jax.published.weight_files import read_weights

STATISTICS = "reg_stats"  # what a checkpoint has beside its state_dict

# Published name -> our path, up to "weight" or "bias".
MODULES = [
    (r"Act_GCN\.gc([12])\.", r"action_branch/layer_\1_"),
    (r"Comp_GCN\.gc([12])\.", r"completeness_branch/layer_\1_"),
    (r"activity_fc\.", "activity_head/"),
    (r"completeness_fc\.", "completeness_head/"),
    (r"regressor_fc\.", "regression_head/"),
]


def pgcn_from_state_dict(state_dict, target_statistics=((0, 0), (1, 1))):
    """Variables of P-GCN from the names of the published code.

    Args:
      state_dict: name -> array, such as "Act_GCN.gc1.weight" (in, out), "activity_fc.weight" (out, in).
      target_statistics: (2, 2) means and deviations of the two regression targets, which the checkpoint has
        beside its state_dict as "reg_stats". 0 and 1 leave offsets as the network gives them.

    Returns:
      {"params", "target_statistics"}, nested dicts of NumPy arrays.

    Raises:
      DataError: a name is unknown.
    """

    def to_ours(path, value):
        return value.T if path.endswith("head/kernel") else value

    mean, std = np.asarray(target_statistics, np.float32)
    params = renamed(state_dict, MODULES, to_ours, "P-GCN")
    return {"params": params, "target_statistics": {"mean": mean, "std": std}}


def pgcn_detector(source, config):
    """The PublishedDetector of a P-GCN checkpoint, which names neither its stream nor its classes.

    Args:
      source: the file.
      config: of a run of P-GCN.

    Raises:
      DataError: the file holds none, or not the statistics of its regression targets.
    """
    weights = read_weights(source, beside=(STATISTICS,))
    channels, _ = first_kernel_shape(weights, "Act_GCN.gc1.weight", 2, "P-GCN", source)
    if STATISTICS not in weights:
        found = f"{source} has no {STATISTICS} beside its state_dict"
        lost = (
            "the means and deviations of the regression targets, without which no boundary can be regressed"
        )
        wanted = "take the file that the published training wrote"
        raise DataError(f"{found}, {lost}; {wanted}.")
    statistics = weights.pop(STATISTICS)
    if statistics.shape != (2, 2) or not np.isfinite(statistics).all() or (statistics[1] <= 0).any():
        found = statistics.tolist() if statistics.shape == (2, 2) else f"of shape {statistics.shape}"
        wanted = "two means and below them two deviations above 0"
        raise DataError(f"{source}: {STATISTICS} must be {wanted}; it is {found}.")
    inputs = {
        "inputs": jax.ShapeDtypeStruct((1, 1, 3 * channels), np.float32),
        "neighbours": jax.ShapeDtypeStruct((1, 1, 1), np.float32),
    }
    variables = pgcn_from_state_dict(weights, statistics)
    return PublishedDetector("P-GCN", variables, inputs, channel_field(config.data, channels))
