"""What the tests of TCANet share: golden cases, their parameters as our tree, trees of ours by the published
names.
"""

import functools
import re

import jax
import numpy as np

from tal_jax.published.trees import our_path
from tal_jax.systems.tcanet.published import MODULES, tcanet_from_state_dict
from tests.golden import recipe
from tests.golden_case import GoldenCase


def load(name):
    """The case tcanet/`name`."""
    return GoldenCase.load(f"tcanet/{name}")


def tolerance(case, name):
    """ "rtol 1e-4, atol 2e-4" of a case -> keyword arguments of assert_allclose; a number alone is both."""
    stated = case.info["tolerance"][name]
    if not isinstance(stated, str):
        return dict(rtol=stated, atol=stated)
    return {"atol": 0.0} | {
        kind: float(value) for kind, value in re.findall(r"(rtol|atol) ([\d.e-]+)", stated)
    }


def parameters(case, prefix=""):
    """Our tree of a case's parameters. prefix: what stands before their names in a whole checkpoint."""
    scale = case.info.get("param_scale")
    values = {}
    for name, shape in case.info["params"].items():
        value = recipe.param(name, shape, case.info["seed"])
        small = scale and any(
            part in name for part in scale["applies to parameters whose name contains one of"]
        )
        values[prefix + name] = value * np.float32(scale["multiply recipe.param by"]) if small else value
    return tcanet_from_state_dict(values)


def to_published(tree, name, shape):
    """The leaf of ours that PyTorch calls `name`, in its layout."""
    value = np.asarray(
        functools.reduce(lambda t, key: t[key], our_path(name, MODULES).split("/"), tree), np.float64
    )
    if value.ndim == 2:
        value = value.T
    if value.ndim == 4:
        value = value.transpose(0, 3, 2, 1)  # (groups, out, in, taps)
    return value.reshape(shape)


def assert_norms_and_projections(tree, case, prefix="", norm="grad_norm", projection="grad_projection"):
    """A tree of ours (gradients, updates) against the norm and the projection that a case has of every
    parameter.
    """
    rtol = tolerance(case, norm)["rtol"]
    for i, name in enumerate(case.info["param_order"]):
        value = to_published(tree, prefix + name, case.info["params"][name])
        golden_norm = case.arrays[norm][i]
        np.testing.assert_allclose(np.linalg.norm(value), golden_norm, rtol=rtol, atol=1e-7, err_msg=name)
        if projection:
            share = float(re.match(r"atol ([\d.e-]+)\*grad_norm", case.info["tolerance"][projection])[1])
            ours = recipe.projection(name, value, case.info["seed"])
            np.testing.assert_allclose(
                ours, case.arrays[projection][i], rtol=0, atol=share * golden_norm + 1e-7, err_msg=name
            )


def random_variables(module, *arrays, **named):
    """Variables of a module, drawn by NumPy: that compiles nothing."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        fan_in = np.prod(leaf.shape[-3:-1]) or 1
        value = random.uniform(-1, 1, leaf.shape) / fan_in**0.5
        return np.float32(value + (getattr(path[-1], "key", "") == "scale"))

    return jax.tree_util.tree_map_with_path(
        draw, jax.eval_shape(module.init, jax.random.key(0), *arrays, **named)
    )
