"""The published checkpoints of TCANet, by the names they have there, as a tree for `model.TCANet`."""

import re

import jax
import numpy as np

from tal_jax.published.trees import PublishedDetector, channel_field, first_kernel_shape, renamed
from tal_jax.published.weight_files import read_weights

_LEAVES = {"weight": "kernel", "bias": "bias"}
_ENCODER = {
    "self_atten.scale_attention.in_proj_": "query_key_value",
    "self_atten.scale_attention.out_proj.": "output",
    "linear1.": "expand",
    "linear2.": "contract",
    "norm1.": "norm_1",
    "norm2.": "norm_2",
}
_LEVELS = {
    "reg1se.start_reg_conv": "start",
    "reg1se.end_reg_conv": "end",
    "reg1xw.reg_1d_b": "segment",
    "reg1xw.reg_1d_o": "segment",
}


def tcanet_from_state_dict(state_dict, groups=4):
    """Parameters of a published checkpoint for `model.TCANet`.

    Args:
      state_dict: name -> array, as PyTorch's `state_dict()`; names may begin with "module.". Convolution
        weights are (out, in / groups, taps), others (out, in). The masks of the attention are constants and
        left out.
      groups: of the convolutions.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DataError: a name is unknown.
    """

    def to_ours(path, value):
        if value.ndim == 2:
            return value.T
        # The last convolution of each level has no groups.
        ungrouped = path.endswith(("start/conv_3/kernel", "end/conv_3/kernel", "conv_4/kernel"))
        num_groups = 1 if ungrouped else groups
        if value.ndim != 3 or len(value) % num_groups:
            return value
        return value.reshape(num_groups, -1, *value.shape[1:]).transpose(0, 3, 2, 1)

    weights = {name.removeprefix("module."): value for name, value in state_dict.items()}
    weights = {name: value for name, value in weights.items() if not name.endswith("self_atten.mask_matrix")}
    return renamed(weights, our_path, to_ours, "TCANet")


def our_path(name):
    """Our path of a published parameter, such as "stage_1/start/conv_1/kernel"; None if its name is unknown."""
    if match := re.fullmatch(r"x_1d_b_f\.([02])\.(weight|bias)", name):
        return f"base_{int(match[1]) // 2 + 1}/{_LEAVES[match[2]]}"
    match = re.fullmatch(r"tbr(\d)\.(reg1\w+\.\w+?)\.([024])\.(weight|bias)", name)
    if match and match[2] in _LEVELS:
        number = int(match[3]) // 2 + (3 if match[2].endswith("_o") else 1)
        return f"stage_{match[1]}/{_LEVELS[match[2]]}/conv_{number}/{_LEAVES[match[4]]}"
    match = re.fullmatch(r"lgtes\.(\d)\.(.+[._])(weight|bias)", name)
    if match and match[2] in _ENCODER:
        leaf = "scale" if match[2].startswith("norm") and match[3] == "weight" else _LEAVES[match[3]]
        return f"encoder_{int(match[1]) + 1}/{_ENCODER[match[2]]}/{leaf}"
    return None


def tcanet_detector(source, config):
    """The PublishedDetector of a TCANet checkpoint.

    Args:
      source: the file.
      config: of a run of TCANet.

    Raises:
      DataError: the file holds none.
    """
    weights = read_weights(source)
    groups = config.model.groups
    _, channels_of_group, _ = first_kernel_shape(weights, "x_1d_b_f.0.weight", 3, "TCANet", source)
    channels = groups * channels_of_group
    shapes = {
        "features": (1, config.window.snippets, channels),
        "proposals_sec": (1, 1, 2),
        "proposal_mask": (1, 1),
        "covered_sec": (1,),
        "num_features": (1,),
    }
    inputs = {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}
    variables = {"params": tcanet_from_state_dict(weights, groups)}
    return PublishedDetector("TCANet", variables, inputs, channel_field(config.data, channels))
