"""What the golden tests of ActionFormer share: cases, parameters by our names, tolerances."""

import math

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from tal_jax.systems.actionformer.config import actionformer_config
from tal_jax.systems.actionformer.published import actionformer_from_state_dict
from tests.golden import recipe
from tests.golden_case import GoldenCase


def load(name):
    """The GoldenCase of a name without its system."""
    return GoldenCase.load(f"actionformer/{name}")


def parameters(case, prefix="", to="", without="-"):
    """The tree of the case's parameters whose names begin with `prefix`, which `to` replaces."""
    return actionformer_from_state_dict(renamed(case.parameters(), prefix, to, without))


def renamed(values, prefix, to, without):
    """The entries whose names begin with `prefix`, which `to` replaces, but not with `without`."""
    kept = {name: value for name, value in values.items() if not name.startswith(without)}
    return {to + name[len(prefix) :]: value for name, value in kept.items() if name.startswith(prefix)}


def time_last(x):
    """(B, C, T) of the reference -> (B, T, C), as JAX has it."""
    return np.ascontiguousarray(np.swapaxes(x, 1, 2))


def tolerance(case, name):
    """The keywords of np.testing.assert_allclose."""
    return case.info["tolerances"][name]


def small_config(case):
    """The config of a case's network, its width of features, its classes and what is trained."""
    hyper = case.info["hyper"]
    model, train, test = hyper["model"], hyper["train_cfg"], hyper["test_cfg"]
    config = actionformer_config()
    config.window.frames = model["max_seq_len"]
    embed, stem, branch = model["backbone_arch"]
    config.backbone.update(embed_layers=embed, stem_blocks=stem, branch_blocks=branch)
    windows = model["n_mha_win_size"]
    config.backbone.update(width=model["embd_dim"], heads=model["n_head"])
    config.backbone.windows = tuple(windows) if isinstance(windows, list) else (windows,)
    config.backbone.absolute_positions = model["use_abs_pe"]
    config.backbone.relative_positions = model["use_rel_pe"]
    config.backbone.update(dropout=train["dropout"], drop_path=train["droppath"])
    config.model.head_layers = model["head_num_layers"]
    config.loss.level_bounds = tuple(map(tuple, model["regression_range"]))
    config.loss.update(normaliser=float(train["init_loss_norm"]), loc_weight=float(train["loss_weight"]))
    config.loss.update(smoothing=train["label_smoothing"], centre_radius=train["center_sample_radius"])
    config.decode.update(min_score=test["pre_nms_thresh"], max_per_level=test["pre_nms_topk"])
    config.decode.update(min_frames=test["duration_thresh"], nms_sigma=test["nms_sigma"])
    config.decode.update(nms_floor=test["min_score"], max_per_recording=test["max_seg_num"])
    return config, model["num_classes"]


def assert_gradients(case, gradients):
    """Compares {published name: gradient} of all parameters with the norms and projections of a case."""
    limits, seed = case.info["tolerances"]["grad"], case.info["seed"]
    noise = case.info.get("gradient_is_rounding_noise", {}).get("grad", [])
    for i, name in enumerate(case.info["gradient_order"]):
        gradient, norm = np.asarray(gradients[name]), case.arrays["grad_norm"][i]
        found = np.linalg.norm(gradient)
        if name in noise:
            assert max(found, norm) < 10 * limits["atol"], name
            continue
        assert abs(found - norm) <= limits["norm_rtol"] * norm + limits["atol"], (name, found, norm)
        allowed = 1e-3 * norm / gradient.size**0.5 + limits["atol"]
        projection = recipe.projection(name, gradient, seed)
        assert abs(projection - case.arrays["grad_projection"][i]) <= allowed, name


def by_name(case, tree, prefix="", to="", without="-"):
    """{published name: array in the reference's layout} of a tree of ours: the inverse of `parameters`.

    The entries of all published parameters are numbered, to see where `parameters` puts each.
    """
    shapes = {p["name"]: p["shape"] for p in case.info["parameters"]}
    shapes = renamed(shapes, prefix, prefix, without)
    sizes = [math.prod(shape) for shape in shapes.values()]
    numbers = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
    numbered = {name: part.reshape(shape) for part, (name, shape) in zip(numbers, shapes.items())}
    places = flatten_dict(actionformer_from_state_dict(renamed(numbered, prefix, to, without)))
    flat = np.zeros(sum(sizes))
    for path, value in flatten_dict(jax.tree.map(np.asarray, tree)).items():
        flat[np.asarray(places[path]).astype(int).ravel()] = value.ravel()
    return {name: flat[part.ravel()].reshape(shapes[name]) for name, part in numbered.items()}
