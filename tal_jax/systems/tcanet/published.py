"""The published checkpoints of TCANet, by the names they have there, as a tree for `model.TCANet`."""

import jax
import numpy as np

from tal_jax.published.trees import PublishedDetector, channel_field, first_kernel_shape, renamed
from tal_jax.published.weight_files import read_weights

# Published name -> our path, up to "weight" or "bias".
MODULES = [
    (r"x_1d_b_f\.0\.", "base_1/"),
    (r"x_1d_b_f\.2\.", "base_2/"),
    (r"tbr(\d)\.reg1se\.(start|end)_reg_conv\.0\.", r"stage_\1/\2/conv_1/"),
    (r"tbr(\d)\.reg1se\.(start|end)_reg_conv\.2\.", r"stage_\1/\2/conv_2/"),
    (r"tbr(\d)\.reg1se\.(start|end)_reg_conv\.4\.", r"stage_\1/\2/conv_3/"),
    (r"tbr(\d)\.reg1xw\.reg_1d_b\.0\.", r"stage_\1/segment/conv_1/"),
    (r"tbr(\d)\.reg1xw\.reg_1d_b\.2\.", r"stage_\1/segment/conv_2/"),
    (r"tbr(\d)\.reg1xw\.reg_1d_o\.0\.", r"stage_\1/segment/conv_3/"),
    (r"tbr(\d)\.reg1xw\.reg_1d_o\.2\.", r"stage_\1/segment/conv_4/"),
]
_ENCODER = [
    (r"self_atten\.scale_attention\.in_proj_", "query_key_value/"),
    (r"self_atten\.scale_attention\.out_proj\.", "output/"),
    (r"linear1\.", "expand/"),
    (r"linear2\.", "contract/"),
    (r"norm([12])\.", r"norm_\1/"),
]
MODULES += [
    (rf"lgtes\.{i}\.{theirs}", f"encoder_{i + 1}/{ours}") for i in range(10) for theirs, ours in _ENCODER
]


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
    return renamed(weights, MODULES, to_ours, "TCANet")


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
