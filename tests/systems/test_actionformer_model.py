"""The network of ActionFormer and its parts against the published ones, and their properties."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.data.timeline import Timeline
from tal_jax.data.windows import Decoded
from tal_jax.systems import actionformer, candidates
from tal_jax.systems.actionformer import blocks, decode, layers, model
from tal_jax.systems.actionformer.layers import Grid
from tal_jax.systems.actionformer.published import actionformer_from_state_dict
from tal_jax.systems.actionformer.targets import bounds_of_points
from tests.systems.actionformer_case import (
    assert_gradients,
    by_name,
    load,
    parameters,
    small_config,
    time_last,
    tolerance,
)

OF_STEM = "backbone.stem.0."


def grid_of(mask):
    """The Grid of a mask (B, 1, T); all positions exist, as in the published code."""
    valid = jnp.asarray(mask[:, 0])
    return Grid(valid, jnp.ones_like(valid))


def test_masked_convolutions_and_layer_norm_are_the_published_ones():
    case = load("masked_conv")
    x, grid, gradients = jnp.asarray(time_last(case.input("x"))), grid_of(case.input("mask")), {}
    torch_of = case.parameters()
    for name, sub in case.info["hyper"]["sub_cases"].items():
        depthwise = sub["groups"] > 1
        conv = layers.Conv(None if depthwise else sub["co"], sub["k"], sub["stride"], sub["bias"])
        kernel = torch_of[f"{name}.conv.weight"]
        params = {"kernel": kernel[:, 0].T if depthwise else kernel.transpose(2, 1, 0)}
        if sub["bias"]:
            params["bias"] = torch_of[f"{name}.conv.bias"]
        strided = grid.strided(sub["stride"])
        run = lambda params: strided.mask(conv.apply({"params": params}, x))
        np.testing.assert_allclose(run(params), time_last(case.arrays[name]), **tolerance(case, "outputs"))
        np.testing.assert_array_equal(strided.valid, case.arrays[f"{name}_mask"][:, 0])
        cotangent = time_last(case.input(f"cotangent_{name}"))
        found = jax.grad(lambda params: jnp.vdot(run(params), cotangent))(params)
        kernel = np.asarray(found["kernel"])
        gradients[f"{name}.conv.weight"] = kernel.T[:, None] if depthwise else kernel.transpose(2, 1, 0)
        if sub["bias"]:
            gradients[f"{name}.conv.bias"] = np.asarray(found["bias"])
    x = jnp.asarray(time_last(case.input("layer_norm_x")))
    params = {"scale": torch_of["layer_norm.weight"], "bias": torch_of["layer_norm.bias"]}
    run = lambda params: layers.LayerNorm().apply({"params": params}, x)
    np.testing.assert_allclose(
        run(params), time_last(case.arrays["layer_norm"]), **tolerance(case, "outputs")
    )
    cotangent = time_last(case.input("cotangent_layer_norm"))
    found = jax.grad(lambda params: jnp.vdot(run(params), cotangent))(params)
    gradients |= {"layer_norm.weight": found["scale"], "layer_norm.bias": found["bias"]}
    assert_gradients(case, gradients)


def block_of(case, name, drop_path=0.1):
    """The TransformerBlock of a sub-case."""
    hyper = case.info["hyper"]
    sub = hyper["sub_cases"][name]
    settings = dict(stride=sub["strides"][0], relative=sub["rel"], drop_path=drop_path)
    return blocks.TransformerBlock(hyper["heads"], sub["window"], **settings)


@pytest.mark.parametrize("name", ["block_global", "block_local_window"])
def test_transformer_blocks_are_the_published_ones(name):
    case = load(name)
    x, grid, found = jnp.asarray(time_last(case.input("x"))), grid_of(case.input("mask")), {}
    for sub in case.info["hyper"]["sub_cases"]:
        block = block_of(case, sub)
        params = parameters(case, f"{sub}.", OF_STEM)["backbone"]["stem_0"]
        cotangent = time_last(case.input(f"cotangent_{sub}"))

        def run(params, x):
            out = block.apply({"params": params}, x, grid)
            return jnp.vdot(out, cotangent), out

        (gradients, of_x), out = jax.jit(jax.grad(run, (0, 1), has_aux=True))(params, x)
        np.testing.assert_allclose(out, time_last(case.arrays[sub]), **tolerance(case, "outputs"))
        np.testing.assert_allclose(of_x, time_last(case.arrays[f"{sub}_grad_x"]), **tolerance(case, "grad_x"))
        strided = grid.strided(block.stride)
        np.testing.assert_array_equal(strided.valid, case.arrays[f"{sub}_mask"][:, 0])
        found |= by_name(case, {"backbone": {"stem_0": gradients}}, f"{sub}.", OF_STEM)
    assert_gradients(case, found)


def test_stochastic_depth_is_the_published_one(monkeypatch):
    """The case gives its draws u; a branch is kept where keep + u reaches 1."""
    case = load("block_global")
    draws = iter(case.input("drop_draws"))
    monkeypatch.setattr(
        jax.random, "bernoulli", lambda key, keep, shape: (keep + next(draws) >= 1).reshape(shape)
    )
    params = parameters(case, "stride1.", OF_STEM)["backbone"]["stem_0"]
    args = jnp.asarray(time_last(case.input("x"))), grid_of(case.input("mask")), True
    out = block_of(case, "stride1", 0.5).apply({"params": params}, *args, rngs={"dropout": jax.random.key(0)})
    expected = time_last(case.arrays["stride1_drop_path"])
    np.testing.assert_allclose(out, expected, **tolerance(case, "outputs"))


@functools.cache
def pyramid_case():
    """(case, Backbone settings, inputs, Grid) of the golden case of backbones."""
    case = load("backbone_pyramid")
    hyper = case.info["hyper"]
    given, (embed, stem, branch) = hyper["backbone"], hyper["backbone"]["arch"]
    settings = dict(
        max_length=hyper["max_len"], channels=given["n_embd"], heads=given["n_head"], embed_layers=embed,
        stem_blocks=stem, branch_blocks=branch, windows=tuple(given["mha_win_size"]),
        absolute_positions=given["use_abs_pe"], drop_path=given["path_pdrop"],
    )  # fmt: skip
    grid = grid_of(case.input("mask"))
    return case, settings, grid.mask(jnp.asarray(time_last(case.input("x")))), grid


def backbone_params(prefix):
    """The parameters of a backbone whose names begin with a prefix."""
    return {"params": parameters(pyramid_case()[0], prefix, "backbone.")["backbone"]}


def test_backbones_are_the_published_ones():
    case, settings, x, grid = pyramid_case()
    two = case.info["hyper"]["two_inputs"]
    several = dict(input_channels=tuple(two["n_in"]), projected_channels=tuple(two["n_embd"]))
    plain = settings | dict(absolute_positions=False, mixer="conv")
    for name, kind, fields in [
        ("transformer", "transformer", settings),
        ("two_inputs", "transformer", settings | several),
        ("conv", "conv", plain),
    ]:
        levels = jax.jit(model.Backbone(**fields).apply)(backbone_params(f"{name}."), x, grid)
        for i, (level, level_grid) in enumerate(levels):
            np.testing.assert_array_equal(level_grid.valid, case.arrays[f"mask_level{i}"][:, 0])
            if f"{name}_level{i}" in case.arrays:
                expected = time_last(case.arrays[f"{name}_level{i}"])
                np.testing.assert_allclose(level, expected, **tolerance(case, kind))


def test_positions_are_the_published_ones():
    case, settings, _, _ = pyramid_case()
    table = layers.position_embedding(settings["max_length"], settings["channels"])
    np.testing.assert_allclose(
        table.T, case.arrays["position_embedding"], **tolerance(case, "position_embedding")
    )
    expected = case.arrays["position_embedding_long"]
    length = expected.shape[1]
    long = layers.stretched_positions(table, jnp.array([length]), length)
    np.testing.assert_allclose(long[0].T, expected, **tolerance(case, "position_embedding_long"))
    x = jnp.asarray(time_last(case.input("x_long")))
    (entry,) = [entry for entry in case.info["inputs"] if entry["name"] == "x_long"]
    valid = jnp.arange(length)[None] < int(re.search(r"the first (\d+)", entry["meaning"])[1])
    long_grid = Grid(valid, jnp.ones_like(valid))
    run = jax.jit(model.Backbone(**settings).apply)
    levels = run(backbone_params("transformer."), long_grid.mask(x), long_grid)
    for i in (0, len(levels) - 1):
        expected = time_last(case.arrays[f"transformer_long_level{i}"])
        np.testing.assert_allclose(levels[i][0], expected, **tolerance(case, "transformer"))


def test_necks_are_the_published_ones():
    case, settings, _, grid = pyramid_case()
    levels = []
    for i in range(settings["branch_blocks"] + 1):
        levels.append((jnp.asarray(time_last(case.arrays[f"transformer_level{i}"])), grid.strided(2**i)))
    width = case.info["hyper"]["fpn_dim"]
    narrow = case.arrays["fpn_from1_level1"].shape[1]
    for name, neck in {
        "identity": model.Neck(),
        "fpn": model.Neck(True, width),
        "fpn_from1": model.Neck(True, narrow, first_level=1, norm=False),
    }.items():
        params = {"params": parameters(case, f"{name}.", "neck.")["neck"]}
        for i, (level, _) in enumerate(neck.apply(params, levels), neck.first_level):
            if f"{name}_level{i}" in case.arrays:
                expected = time_last(case.arrays[f"{name}_level{i}"])
                np.testing.assert_allclose(level, expected, **tolerance(case, "neck"))


def test_heads_are_the_published_ones():
    case = load("heads")
    hyper = case.info["hyper"]
    count = len(hyper["level_lengths"])
    levels = [
        (jnp.asarray(time_last(case.input(f"level{i}"))), grid_of(case.input(f"mask{i}")))
        for i in range(count)
    ]
    heads = model.Heads(hyper["num_classes"], hyper["head_dim"], hyper["num_layers"], count)
    params = parameters(case, "", "", without="no_norm.")["heads"]
    cotangents = [
        jnp.concatenate([time_last(case.input(f"cotangent_{kind}{i}")) for i in range(count)], axis=1)
        for kind in ("logits", "offsets")
    ]

    def run(params):
        logits, distances, _ = heads.apply({"params": params}, levels)
        return jnp.vdot(logits, cotangents[0]) + jnp.vdot(distances, cotangents[1]), (logits, distances)

    gradients, outputs = jax.jit(jax.grad(run, has_aux=True))(params)
    for kind, output in zip(("logits", "offsets"), outputs):
        expected = np.concatenate([time_last(case.arrays[f"{kind}{i}"]) for i in range(count)], axis=1)
        np.testing.assert_allclose(output, expected, **tolerance(case, kind))
    assert_gradients(case, by_name(case, {"heads": gradients}, without="no_norm."))
    initial = hyper["initial_bias"]
    bias = model.prior_bias(hyper["num_classes"], initial["empty_classes"])
    np.testing.assert_allclose(bias, case.arrays["initial_cls_bias"], **tolerance(case, "initial_cls_bias"))

    plain = parameters(case, "no_norm.", "cls_head.")["heads"]
    tower = model.Tower(hyper["head_dim"], 1, norm=False)
    hidden = tower.apply({"params": plain["cls_tower"]}, *levels[0])
    logits = levels[0][1].mask(
        layers.Conv(bias.size, use_bias=True).apply({"params": plain["cls_out"]}, hidden)
    )
    np.testing.assert_allclose(logits, time_last(case.arrays["no_norm_logits0"]), **tolerance(case, "logits"))


@functools.cache
def small_network():
    """(case, module, variables, compiled apply) of the small network."""
    case = load("forward_small")
    config, num_classes = small_config(case)
    module = actionformer.build(config, num_classes)
    variables = {"params": parameters(case), "normaliser": {"cls": 1.0, "loc": 1.0}}
    run = lambda *args: module.apply(*args, mutable=False)
    return case, module, variables, jax.jit(run)


def padded(recordings, length):
    """(inputs (B, length, C), num_frames (B,)) of recordings (C, T_i)."""
    arrays = [np.pad(x.T, ((0, length - x.shape[1]), (0, 0))) for x in recordings]
    return jnp.asarray(np.stack(arrays)), jnp.array([x.shape[1] for x in recordings])


def test_the_small_network_is_the_published_one():
    case, module, variables, run = small_network()
    inputs = padded([case.input("video0"), case.input("video1")], module.backbone.max_length)
    levels = module.backbone.branch_blocks + 1
    outputs = run(variables, *inputs)
    np.testing.assert_array_equal(outputs.mask[:, : inputs[0].shape[1]], case.arrays["batch_mask"][:, 0])
    for kind, found in (("logits", outputs.logits), ("offsets", outputs.distances)):
        expected = [time_last(case.arrays[f"train_{kind}{i}"]) for i in range(levels)]
        np.testing.assert_allclose(found, np.concatenate(expected, axis=1), **tolerance(case, kind))


@pytest.mark.parametrize("name", ["short", "long"])
def test_a_recording_is_seen_as_the_published_code_sees_it(name):
    """However far it is padded."""
    case, module, variables, run = small_network()
    length = case.info["hyper"][name]["padded_length"]
    video = case.input("video_long" if name == "long" else short_video(case))
    for more in (0, 32, 96):
        inputs = padded([video], length + more)
        outputs, count = run(variables, *inputs), 0
        for level in range(module.backbone.branch_blocks + 1):
            size, start = length >> level, int(np.argmax(outputs.strides == 2**level))
            for kind, found in (("logits", outputs.logits), ("offsets", outputs.distances)):
                expected = time_last(case.arrays[f"{name}_{kind}"])[:, count : count + size]
                np.testing.assert_allclose(found[:, start : start + size], expected, **tolerance(case, kind))
            assert not outputs.mask[:, start + size : start + (length + more >> level)].any()
            count += size


def short_video(case):
    """The name of the input that is `short`: the shortest one."""
    return f"video{int(np.argmin(case.info['hyper']['lengths']))}"


def correlate(x, params):
    """(T, C) depthwise with a kernel (S, C) and a bias, zeros beyond the ends."""
    kernel = np.asarray(params["kernel"])
    reach = len(kernel) // 2
    padded = np.pad(x, ((reach, reach), (0, 0)))
    return sum(padded[i : i + len(x)] * kernel[i] for i in range(len(kernel))) + params["bias"]


def test_scalable_granularity_perception_is_that_of_the_paper():
    """One recording of 6 of 8 positions, by the equations of TriDet."""
    x, valid = np.random.default_rng(0).standard_normal((1, 8, 32), np.float32), np.arange(8)[None] < 6
    grid, block = Grid(jnp.asarray(valid), jnp.asarray(valid)), blocks.SGPBlock(window=1)
    params = block.init(jax.random.key(0), jnp.asarray(x), grid)["params"]
    found = np.asarray(block.apply({"params": params}, jnp.asarray(x), grid)[0])
    assert not found[6:].any() and params["wide"]["kernel"].shape == (11, 32)
    rows = x[0, :6]
    normal = (rows - rows.mean(1, keepdims=True)) / np.sqrt(rows.var(1, keepdims=True) + 1e-5)
    phi = np.maximum(correlate(normal.mean(0, keepdims=True), params["recording"]), 0)
    part = {name: correlate(normal, params[name]) for name in ("instant", "gate", "narrow", "wide")}
    seen = rows + part["instant"] * phi + part["gate"] * (part["narrow"] + part["wide"]) + normal
    groups = seen.reshape(6, 16, 2)
    groups = (groups - groups.mean((0, 2), keepdims=True)) / np.sqrt(groups.var((0, 2), keepdims=True) + 1e-5)
    hidden = groups.reshape(6, 32) @ params["mlp_in"]["kernel"][0] + params["mlp_in"]["bias"]
    hidden = np.asarray(jax.nn.gelu(hidden, approximate=False))
    expected = seen + hidden @ params["mlp_out"]["kernel"][0] + params["mlp_out"]["bias"]
    np.testing.assert_allclose(found[:6], expected, atol=2e-5)


@pytest.mark.parametrize("mixer", ["attention", "max", "sgp", "conv"])
def test_padding_is_harmless(mixer):
    """With the reading padding_mask=True, a network sees a recording alike, padded or not."""
    case, module, variables, _ = small_network()
    module = module.clone(padding_mask=True, backbone=module.backbone.clone(mixer=mixer))
    videos = [case.input("video_long")[:, :64], case.input(short_video(case))]
    variables = jax.jit(module.init)(jax.random.key(0), *padded(videos, 64))
    run = jax.jit(module.apply)
    for video in videos:
        found = []
        for length in (64, 96, 160):
            outputs = run(variables, *padded([video], length))
            kept = np.asarray(outputs.mask[0])
            found.append((outputs.logits[0][kept], outputs.distances[0][kept], outputs.points[kept]))
        for other in found[1:]:
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found[0], other)


def test_the_published_network_on_thumos14_is_the_published_one():
    case = load("forward_full_thumos")
    config, num_classes = small_config(case)
    module = actionformer.build(config, num_classes)
    params = parameters(case)
    assert sum(x.size for x in jax.tree.leaves(params)) == case.info["hyper"]["parameter_count"]
    variables = {"params": params, "normaliser": {"cls": 1.0, "loc": 1.0}}
    outputs = jax.jit(module.apply)(variables, *padded([case.input("video")], module.backbone.max_length))
    for kind, found in (("logits", outputs.logits), ("offsets", outputs.distances)):
        expected = [time_last(case.arrays[f"{kind}{i}"]) for i in range(module.backbone.branch_blocks + 1)]
        np.testing.assert_allclose(found, np.concatenate(expected, axis=1), **tolerance(case, kind))


def test_points_are_the_published_ones():
    case = load("points")
    for name, sub in case.info["hyper"]["sub_cases"].items():
        levels = len(sub["lengths"])
        points, strides = model.points_of_levels(sub["lengths"][0], levels)
        bounds = bounds_of_points(strides, sub["regression_range"])
        found = np.column_stack([points - 0.5, bounds, strides])
        np.testing.assert_array_equal(found, case.arrays[name])


def test_every_published_parameter_has_its_place():
    case = load("state_dict")
    shapes = case.json_file(case.info["files"][0])
    for name, sub in case.info["hyper"]["configs"].items():
        arrays = {f"module.{path}": np.zeros(shape, np.int8) for path, shape in shapes[name].items()}
        params = actionformer_from_state_dict(arrays)
        assert sum(x.size for x in jax.tree.leaves(params)) == sub["parameters"]


@pytest.mark.parametrize("name", ["short", "long"])
def test_detections_are_the_published_ones(name):
    """From the features to scored segments in seconds: network, candidates, soft-NMS, the best of a recording."""
    case, _, variables, run = small_network()
    config, _ = small_config(case)
    hyper = case.info["hyper"][name]
    video = case.input("video_long" if name == "long" else short_video(case))
    outputs = run(variables, *padded([video], hyper["padded_length"]))
    arrays = {key: np.asarray(array[0]) for key, array in decode.decode(config, outputs).items()}
    timeline = Timeline(hyper["fps"], hyper["feat_stride"], hyper["feat_num_frames"])
    of_recording = candidates.detections(config, [Decoded(0, video.shape[1], arrays)], timeline)
    kept = decode.suppress(config, {"r": of_recording})["r"]
    segments = np.clip(kept.segments_sec, 0, hyper["duration"])
    scores = case.arrays[f"{name}_scores"]
    np.testing.assert_allclose(kept.scores, scores, rtol=1e-3, atol=1e-5)
    apart = np.abs(np.diff(scores)) > 1e-5  # by rank where neighbours differ, as the case says
    ranked = np.concatenate([[True], apart]) & np.concatenate([apart, [True]])
    np.testing.assert_array_equal(kept.classes[ranked], case.arrays[f"{name}_labels"][ranked])
    np.testing.assert_allclose(segments[ranked], case.arrays[f"{name}_segments"][ranked], atol=2e-3)
    assert ranked.mean() > 0.5
