"""The published checkpoints of P-GCN, by the names they have there, as a tree for `model.PGCN`."""

import flax.traverse_util
import numpy as np

from tal_jax.errors import DataError

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
      target_statistics: (2, 2) means and deviations of the two regression targets, what the checkpoint has beside its state_dict
        as "reg_stats"; None: 0 and 1, which leaves offsets as the network gives them.

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
