"""The published checkpoints of AFSD, by the names they have there, as a tree for `model.AFSD`."""

import re

import jax
import numpy as np

from tal_jax.data.frames import STREAMS
from tal_jax.errors import DataError
from tal_jax.published.i3d import BACKBONE, recognise
from tal_jax.published.trees import PublishedDetector, renamed
from tal_jax.published.weight_files import read_weights

DETECTOR = "coarse_pyramid_detection."  # before the names of all after the backbone

# Published name of a block or convolution -> ours.
_MODULES = [
    (r"pyramids\.(\d)", r"pyramid/down_\1"),  # but for the projections, see `_our_path`
    (r"(loc|conf)_tower\.(\d)", r"\1_tower_\2"),
    (r"(loc|conf)_proposal_branch\.cur_point_conv", r"\1_branch/current"),
    (r"(loc|conf)_proposal_branch\.lr_conv", r"\1_branch/sides"),
    (r"(loc|conf)_proposal_branch\.roi_conv", r"\1_branch/region"),
    (r"(loc|conf)_proposal_branch\.proposal_conv", r"\1_branch/merge"),
    (r"prop_(loc|conf)_head", r"refined_\1_head"),
    (r"(loc|conf)_head", r"\1_head"),
    (r"center_head", "quality_head"),
    (r"deconv_(\d)", r"frame_\1"),
]
# What follows it: the convolution of a block (0) or of a head, or the norm of a block (1).
_LEAVES = {
    "0.convNd.weight": "conv/conv/kernel",
    "0.convNd.bias": "conv/conv/bias",
    "convNd.weight": "conv/kernel",
    "convNd.bias": "conv/bias",
    "1.weight": "norm/scale",
    "1.bias": "norm/bias",
}


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
    params = renamed(head, lambda name: _our_path(name.removeprefix(DETECTOR), top_down), _to_flax, "AFSD")
    scales = params.pop("scales", {})
    levels = [scales[level] for level in sorted(scales, key=int)]
    return params | {"scales": np.concatenate(levels or [np.zeros(0, np.float32)])}


def _our_path(name, top_down):
    """Our path of a parameter, such as "cls_head/conv/kernel"; None if its name is unknown."""
    if match := re.fullmatch(r"loc_heads\.(\d+)\.scale", name):
        return f"scales/{match[1]}"
    # A flat list: convolution, norm and ReLU of each of three blocks.
    name = re.sub(r"^deconv\.(\d)", lambda match: "deconv_{}.{}".format(*divmod(int(match[1]), 3)), name)
    name = re.sub(r"conv[13]d\.", "convNd.", name)
    projections = (rf"pyramids\.({'[01]' if top_down else '0'})", r"pyramid/project_\1")
    for theirs, ours in [projections, *_MODULES]:
        if (match := re.match(rf"{theirs}\.", name)) and (leaf := _LEAVES.get(name[match.end() :])):
            return f"{match.expand(ours).replace('conf_', 'cls_')}/{leaf}"
    return None


def _to_flax(path, value):
    """(out, in, time) -> (time, in, out); (out, in, 1, height, width) -> (1, height * width * in, out); other
    shapes stay.
    """
    if path.startswith("scales"):
        return value.ravel()
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
    if config.model.backbone != "i3d":
        raise DataError(
            f"config.model.backbone is '{config.model.backbone}'; a published detector has 'i3d'."
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
    variables["params"] |= afsd_from_state_dict(weights, config.model.top_down)
    crop = config.data.crop_pixels
    clip = jax.ShapeDtypeStruct((1, config.window.frames, crop, crop, STREAMS[stream]), np.float32)
    return PublishedDetector(f"AFSD, {stream}", variables, clip, {"data.input": stream})
