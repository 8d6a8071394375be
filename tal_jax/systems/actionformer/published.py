"""The published checkpoints of ActionFormer, by their names, as a tree for `model.ActionFormer`."""

import re

import jax
import numpy as np

from tal_jax.errors import DataError
from tal_jax.published.trees import PublishedDetector, channel_field, first_kernel_shape, renamed
from tal_jax.published.weight_files import read_weights

_BLOCK = [
    (r"ln([12])\.", r"norm_\3/"),
    (r"attn\.(query|key|value)_conv\.conv\.", r"\3_conv/"),
    (r"attn\.(query|key|value)_norm\.", r"\3_norm/"),
    (r"attn\.(query|key|value)\.", r"\3/"),
    (r"attn\.proj\.", "output/"),
    (r"mlp\.0\.", "mlp_in/"),
    (r"mlp\.3\.", "mlp_out/"),
    (r"conv1\.conv\.", "conv_1/"),
    (r"conv2\.conv\.", "conv_2/"),
    (r"downsample\.conv\.", "skip/"),
]
# Published name -> our path, up to "weight" or "bias".
MODULES = [
    (r"backbone\.proj\.(\d+)\.conv\.", r"backbone/project_\1/"),
    (r"backbone\.embd\.(\d+)\.conv\.", r"backbone/embed_\1/"),
    (r"backbone\.embd_norm\.(\d+)\.", r"backbone/embed_norm_\1/"),
    *((rf"backbone\.(stem|branch)\.(\d+)\.{theirs}", rf"backbone/\1_\2/{ours}") for theirs, ours in _BLOCK),
    (r"neck\.fpn_norms\.(\d+)\.", r"neck/norm_\1/"),
    (r"neck\.lateral_convs\.(\d+)\.conv\.", r"neck/lateral_\1/"),
    (r"neck\.fpn_convs\.(\d+)\.conv\.", r"neck/out_\1/"),
    (r"(cls|reg)_head\.head\.(\d+)\.conv\.", r"heads/\1_tower/conv_\2/"),
    (r"(cls|reg)_head\.norm\.(\d+)\.", r"heads/\1_tower/normal_\2/"),
    (r"cls_head\.cls_head\.conv\.", "heads/cls_out/"),
    (r"reg_head\.offset_head\.conv\.", "heads/reg_out/"),
]
# Parameters without a "weight": published name -> our path.
LONE = [
    (r"backbone\.(stem|branch)\.(\d+)\.drop_path_attn\.scale", r"backbone/\1_\2/attention_branch/scale"),
    (r"backbone\.(stem|branch)\.(\d+)\.drop_path_mlp\.scale", r"backbone/\1_\2/mlp_branch/scale"),
    (r"backbone\.(stem|branch)\.(\d+)\.attn\.rel_pe", r"backbone/\1_\2/relative"),
]
SCALE = re.compile(r"reg_head\.scale\.(\d+)\.scale")
FIRST_KERNEL = "backbone.embd.0.conv.weight"


def actionformer_from_state_dict(state_dict):
    """Parameters of a published checkpoint for `model.ActionFormer`, or of a part of it.

    Args:
      state_dict: name -> array, as PyTorch's `state_dict()`; names may begin with "module.". Convolutions are
        (out, in / groups, taps), norms and scales of channels (1, C, 1) or (C,).

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DataError: a name is unknown.
    """
    weights = {name.removeprefix("module."): value for name, value in state_dict.items()}
    scales = {int(match[1]): weights.pop(name) for name in [*weights] if (match := SCALE.fullmatch(name))}
    lone = {}
    for theirs, ours in LONE:
        for name in [*weights]:
            if match := re.fullmatch(theirs, name):
                lone[match.expand(ours)] = weights.pop(name)
    params = renamed(weights, MODULES, _to_ours, "ActionFormer")
    for path, value in lone.items():
        *parents, leaf = path.split("/")
        tree = params
        for parent in parents:
            tree = tree.setdefault(parent, {})
        tree[leaf] = np.asarray(value).reshape(value.shape[-2:] if leaf == "relative" else -1)
    if scales:
        of_levels = [np.ravel(scales[level]) for level in sorted(scales)]
        params.setdefault("heads", {})["scales"] = np.concatenate(of_levels).astype(np.float32)
    return _renamed_regression(params)


def _renamed_regression(params):
    """The tree with "reg" in the names of the heads called "loc", as everywhere here."""
    if "heads" in params:
        params["heads"] = {name.replace("reg_", "loc_"): tree for name, tree in params["heads"].items()}
    return params


def _to_ours(path, value):
    """(out, in, taps) -> (taps, in, out); depthwise (C, 1, taps) -> (taps, C); (1, C, 1) -> (C,). A kernel of
    another number of axes, which no network has, stays as it is.
    """
    if not path.endswith("kernel"):
        return value.reshape(-1)
    if value.ndim != 3:
        return value
    depthwise = path.endswith("_conv/kernel") or path.startswith("neck/out_")
    return value[:, 0].T if depthwise else value.transpose(2, 1, 0)


def actionformer_detector(source, config):
    """The PublishedDetector of a checkpoint: the running mean of its parameters, which is what is scored.

    Args:
      source: the file.
      config: of a run of ActionFormer.

    Raises:
      DataError: the file holds no ActionFormer, or one of another width, or of features of other widths.
    """
    weights = {name.removeprefix("module."): value for name, value in read_weights(source).items()}
    width, joined, _ = first_kernel_shape(weights, FIRST_KERNEL, 3, "ActionFormer", source)
    projections = filter(re.compile(r"backbone\.proj\.\d+\.conv\.weight").fullmatch, weights)
    inputs = [first_kernel_shape(weights, name, 3, "ActionFormer", source)[1] for name in sorted(projections)]
    channels, said = sum(inputs) or joined, config.data.num_channels
    fields = channel_field(config.data, channels)
    expected = {
        **{field: (found, said or found) for field, found in fields.items()},
        "backbone.input_channels": (tuple(inputs), tuple(config.backbone.input_channels)),
        "backbone.channels": (width, config.backbone.channels),
    }
    for field, (found, said) in expected.items():
        if found != said:
            raise DataError(f"{source} has a network of config.{field}={found}, but the config says {said}.")
    length = jax.ShapeDtypeStruct((1,), np.int32)
    features = jax.ShapeDtypeStruct((1, config.window.frames, channels), np.float32)
    variables = {"params": actionformer_from_state_dict(weights)}
    normaliser = np.float32(config.loss.normaliser)
    variables["normaliser"] = {"cls": normaliser, "loc": normaliser}
    return PublishedDetector("ActionFormer", variables, dict(inputs=features, num_frames=length), fields)
