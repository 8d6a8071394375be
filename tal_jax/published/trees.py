"""A published detector under our names: a tree of arrays that fits the Flax module of its system."""

import re
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np

from tal_jax.errors import DataError


class PublishedDetector(NamedTuple):
    """A whole detector of a checkpoint, its shapes not checked yet."""

    kind: str  # for the terminal
    variables: dict  # collection -> nested dict of arrays
    inputs: Any  # what the network takes, as shapes: one, or a dict of its arguments
    fields: dict  # "section.field" of the config -> what the checkpoint says of it


def our_path(name, modules):
    """Our path of a parameter of PyTorch, such as "cls_head/conv/kernel"; None if its name is unknown.

    Args:
      name: published, ending with "weight" or "bias".
      modules: (pattern of a name up to there, our path up to there) pairs; the first that fits counts. The
        weight of a norm is its "scale", any other a "kernel".
    """
    for theirs, ours in modules:
        if match := re.fullmatch(f"{theirs}(?P<leaf>weight|bias)", name):
            path = match.expand(ours)
            weight = "scale" if "norm" in path else "kernel"
            return path + (weight if match["leaf"] == "weight" else "bias")
    return None


def renamed(weights, modules, to_ours, system):
    """The tree of a checkpoint's arrays.

    Args:
      weights: published name -> array.
      modules: see `our_path`.
      to_ours: (our path, array) -> the array with its axes in our order.
      system: name of the system, for the message.

    Returns:
      Nested dict of NumPy arrays.

    Raises:
      DataError: names every unknown name.
    """
    paths = {name: our_path(name, modules) for name in weights}
    unknown = [name for name, path in paths.items() if path is None]
    if unknown:
        raise DataError(f"These names are not of a published {system} checkpoint: {', '.join(unknown)}.")
    flat = {path: to_ours(path, np.asarray(weights[name])) for name, path in paths.items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def first_kernel_shape(weights, name, num_axes, system, source):
    """Shape of the kernel that takes the features, by which a checkpoint of a system is known.

    Args:
      weights: name -> array, as `read_weights` gives it.
      name: of the kernel.
      num_axes: how many axes it must have.
      system, source: names of the system and of the file, for messages.

    Raises:
      DataError: it is missing, or can be no such kernel.
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
    """The field of the config that says how many channels the files of features have.

    Args:
      data: `config.data`.
      num_channels: that the network takes. It tells those of the files unless these are folded.

    Returns:
      {"data.num_channels": int}, or {}.
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
    listed = [f"{what} ({len(names)}): {', '.join(names)}" for what, names in problems.items() if names]
    if listed:
        raise DataError(f"{source} does not fit the network: {'; '.join(listed)}.")
