"""The published checkpoints of P-GCN, by the names they have there, as a tree for `model.PGCN`."""

import flax.traverse_util
import jax
import numpy as np

from tal_jax.errors import DataError
from tal_jax.published.trees import PublishedDetector, channel_field, first_kernel_shape
from tal_jax.published.weight_files import read_weights

STATISTICS = "reg_stats"  # what a checkpoint has beside its state_dict

# Their name -> our path, and whether their array is (out, in) and ours (in, out).
NAMES = {
    "Act_GCN.gc1.weight": ("action_branch/layer_1_kernel", False),
    "Act_GCN.gc1.bias": ("action_branch/layer_1_bias", False),
    "Act_GCN.gc2.weight": ("action_branch/layer_2_kernel", False),
    "Act_GCN.gc2.bias": ("action_branch/layer_2_bias", False),
    "Comp_GCN.gc1.weight": ("completeness_branch/layer_1_kernel", False),
    "Comp_GCN.gc1.bias": ("completeness_branch/layer_1_bias", False),
    "Comp_GCN.gc2.weight": ("completeness_branch/layer_2_kernel", False),
    "Comp_GCN.gc2.bias": ("completeness_branch/layer_2_bias", False),
    "activity_fc.weight": ("activity_head/kernel", True),
    "activity_fc.bias": ("activity_head/bias", False),
    "completeness_fc.weight": ("completeness_head/kernel", True),
    "completeness_fc.bias": ("completeness_head/bias", False),
    "regressor_fc.weight": ("regression_head/kernel", True),
    "regressor_fc.bias": ("regression_head/bias", False),
}


def pgcn_from_state_dict(state_dict, target_statistics=None):
    """Variables of P-GCN from the names of the published code.

    Args:
      state_dict: name -> array, such as "Act_GCN.gc1.weight" (in, out), "activity_fc.weight" (out, in).
      target_statistics: (2, 2) means and deviations of the two regression targets, what the checkpoint has
        beside its state_dict as "reg_stats"; None: 0 and 1, which leaves offsets as the network gives them.

    Returns:
      {"params", "target_statistics"}, nested dicts of NumPy arrays.

    Raises:
      DataError: a name is not known.
    """
    unknown = [name for name in state_dict if name not in NAMES]
    if unknown:
        raise DataError(f"These names are not of a published P-GCN checkpoint: {', '.join(unknown)}.")
    flat = {}
    for name, value in state_dict.items():
        path, transposed = NAMES[name]
        flat[path] = np.asarray(value).T if transposed else np.asarray(value)
    mean, std = np.array([[0, 0], [1, 1]]) if target_statistics is None else np.asarray(target_statistics)
    statistics = {"mean": np.float32(mean), "std": np.float32(std)}
    return {"params": flax.traverse_util.unflatten_dict(flat, sep="/"), "target_statistics": statistics}


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
        raise DataError(
            f"{source} has no {STATISTICS} beside its state_dict, the means and deviations of the regression "
            f"targets, without "
            "which no boundary can be regressed; take the file that the published training wrote."
        )
    statistics = weights.pop(STATISTICS)
    if statistics.shape != (2, 2) or not np.isfinite(statistics).all() or (statistics[1] <= 0).any():
        found = statistics.tolist() if statistics.shape == (2, 2) else f"of shape {statistics.shape}"
        raise DataError(
            f"{source}: {STATISTICS} must be two means and below them two deviations above 0; it is {found}."
        )
    inputs = {
        "inputs": jax.ShapeDtypeStruct((1, 1, 3 * channels), np.float32),
        "neighbours": jax.ShapeDtypeStruct((1, 1, 1), np.float32),
    }
    return PublishedDetector(
        "P-GCN", pgcn_from_state_dict(weights, statistics), inputs, channel_field(config.data, channels)
    )
