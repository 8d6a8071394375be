"""Published weights of TCANet, by the names they have there, as the tree of our module."""

import re

import flax.traverse_util
import jax
import numpy as np

from tal_jax.errors import DataError
from tal_jax.published.trees import PublishedDetector, channel_field, first_kernel_shape
from tal_jax.published.weight_files import read_weights

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
GROUPS = 4


def tcanet_from_state_dict(state_dict, groups=GROUPS):
    """Parameters of a published checkpoint for `model.TCANet`.

    Args:
      state_dict: name -> array, as PyTorch's `state_dict()`; names may begin with "module.". Convolution
        weights are (out, in / groups, taps), others (out, in). The masks of the attention are constants and
        left out.
      groups: of the convolutions.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DataError: a name is not known.
    """
    flat, unknown = {}, []
    for name, value in state_dict.items():
        name = name.removeprefix("module.")
        if name.endswith("self_atten.mask_matrix"):
            continue
        if path := our_path(name):
            flat[path] = to_ours(path, np.asarray(value), groups)
        else:
            unknown.append(name)
    if unknown:
        raise DataError(f"These names are not of a published TCANet checkpoint: {', '.join(unknown)}.")
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def our_path(name):
    """Our path of one of their parameters, such as "stage_1/start/conv_1/kernel"; None if it is not known."""
    if match := re.fullmatch(r"x_1d_b_f\.([02])\.(weight|bias)", name):
        return f"base_{int(match[1]) // 2 + 1}/{_leaf(match[2])}"
    if match := re.fullmatch(r"tbr(\d)\.(reg1\w+\.\w+?)\.([024])\.(weight|bias)", name):
        number = int(match[3]) // 2 + (3 if match[2].endswith("_o") else 1)
        return (
            f"stage_{match[1]}/{_LEVELS[match[2]]}/conv_{number}/{_leaf(match[4])}"
            if match[2] in _LEVELS
            else None
        )
    if match := re.fullmatch(r"lgtes\.(\d)\.(.+[._])(weight|bias)", name):
        module = _ENCODER.get(match[2])
        leaf = "scale" if match[3] == "weight" and module in ("norm_1", "norm_2") else _leaf(match[3])
        return f"encoder_{int(match[1]) + 1}/{module}/{leaf}" if module else None
    return None


def _leaf(theirs):
    return "kernel" if theirs == "weight" else "bias"


def to_ours(path, value, groups=GROUPS):
    """(out, in) -> (in, out); (out, in / groups, taps) -> (groups, taps, in / groups, out / groups); other
    shapes stay.
    """
    if value.ndim == 2:
        return value.T
    if path.endswith(("start/conv_3/kernel", "end/conv_3/kernel", "conv_4/kernel")):
        groups = 1  # the last convolution of each level has none
    if value.ndim != 3 or len(value) % groups:
        return value
    return value.reshape(groups, -1, *value.shape[1:]).transpose(0, 3, 2, 1)


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
