"""The published checkpoints of AFSD, by the names they have there, as a tree for `model.AFSD`."""

import re

import jax
import numpy as np

from tal_jax.data.frames import STREAMS
from tal_jax.errors import DataError
from tal_jax.published.i3d import BACKBONE, recognise
from tal_jax.published.trees import PublishedDetector, renamed
from tal_jax.published.weight_files import read_weights
from tal_jax.systems.afsd.config import reading

DETECTOR = "coarse_pyramid_detection."  # before the names of all after the backbone


def _modules(top_down):
    """(pattern of a published name, our path) pairs, both up to "weight" or "bias"."""
    blocks = [
        (rf"pyramids\.({'[01]' if top_down else '0'})", r"pyramid/project_\1"),
        (r"pyramids\.(\d)", r"pyramid/down_\1"),
        (r"(loc|conf)_tower\.(\d)", r"\1_tower_\2"),
        (r"(loc|conf)_proposal_branch\.cur_point_conv", r"\1_branch/current"),
        (r"(loc|conf)_proposal_branch\.lr_conv", r"\1_branch/sides"),
        (r"(loc|conf)_proposal_branch\.roi_conv", r"\1_branch/region"),
        (r"(loc|conf)_proposal_branch\.proposal_conv", r"\1_branch/merge"),
    ]
    modules = [
        (r"(loc|conf)_head\.conv1d\.", r"\1_head/conv/"),
        (r"prop_(loc|conf)_head\.conv1d\.", r"refined_\1_head/conv/"),
        (r"center_head\.conv1d\.", "quality_head/conv/"),
    ]
    modules += [(rf"{theirs}\.0\.conv[13]d\.", f"{ours}/conv/conv/") for theirs, ours in blocks]
    modules += [(rf"{theirs}\.1\.", f"{ours}/norm/") for theirs, ours in blocks]
    # Three more blocks are one flat list of convolution, norm and ReLU.
    modules += [(rf"deconv\.{3 * i}\.conv1d\.", f"frame_{i}/conv/conv/") for i in range(3)]
    modules += [(rf"deconv\.{3 * i + 1}\.", f"frame_{i}/norm/") for i in range(3)]
    return [(re.escape(DETECTOR) + theirs, ours) for theirs, ours in modules]


def afsd_from_state_dict(state_dict, top_down=True):
    """Parameters of the published AFSD detector (all after the backbone) for `model.AFSD`.

    Args:
      state_dict: name -> array, as PyTorch's `state_dict()`: names begin with "coarse_pyramid_detection.",
        convolution weights are (out, in, time) or (out, in, time, height, width). Names of other parts
        ("backbone.") are left out.
      top_down: the THUMOS pyramid, whose level 1 is a projection too; False for ActivityNet.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DataError: a name is unknown.
    """
    head = {name: value for name, value in state_dict.items() if name.startswith(DETECTOR)}
    scale_names = sorted(filter(re.compile(rf"{re.escape(DETECTOR)}loc_heads\.\d\.scale").fullmatch, head))
    scales = [np.ravel(head.pop(name)) for name in scale_names] or [np.zeros(0, np.float32)]
    params = renamed(head, _modules(top_down), _to_flax, "AFSD")
    params = {name.replace("conf_", "cls_"): tree for name, tree in params.items()}
    return params | {"scales": np.concatenate(scales)}


def _to_flax(path, value):
    """(out, in, time) -> (time, in, out); (out, in, 1, height, width) -> (1, height * width * in, out); other
    shapes stay.
    """
    if not path.endswith("kernel"):
        return value
    if value.ndim == 5 and value.shape[2] == 1:
        return value[:, :, 0].transpose(2, 3, 1, 0).reshape(1, -1, value.shape[0])
    return value.transpose(2, 1, 0) if value.ndim == 3 else value


def afsd_detector(source, config):
    """The PublishedDetector of an AFSD checkpoint, backbone included; the first kernel tells the stream.

    Args:
      source: the file.
      config: of a run on frames.

    Raises:
      DataError: the config is not of such a detector, or the file holds none.
    """
    if config.data.input == "features":
        raise DataError(
            "config.data.input is 'features'; a published detector reads frames, 'rgb' or 'flow'."
        )
    weights = read_weights(source)
    backbone = {
        name.removeprefix(BACKBONE): value for name, value in weights.items() if not name.startswith(DETECTOR)
    }
    if len(backbone) == len(weights):
        found = f"{source} holds no detector (no name begins with {DETECTOR})"
        raise DataError(f"{found}; a backbone is converted without --config.")
    _, stream, to_variables = recognise(backbone, source)
    variables = {name: {"backbone": tree} for name, tree in to_variables(backbone).items()}
    variables["params"]["backbone"].pop("logits", None)  # the classes of Kinetics
    variables["params"] |= afsd_from_state_dict(weights, reading(config, "top_down"))
    crop = config.data.crop_pixels
    clip = jax.ShapeDtypeStruct((1, config.window.frames, crop, crop, STREAMS[stream]), np.float32)
    return PublishedDetector(f"AFSD, {stream}", variables, clip, {"data.input": stream})
