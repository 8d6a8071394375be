"""The network of TCANet and its parts against the published ones, and their properties."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.errors import DataError
from tal_jax.systems import require_valid, tcanet
from tal_jax.systems.tcanet import losses, tbr
from tal_jax.systems.tcanet.config import tcanet_config
from tal_jax.systems.tcanet.convolution import convolve, convolve_halves, convolve_samples, split_groups
from tal_jax.systems.tcanet.lgte import Encoder, in_window
from tal_jax.systems.tcanet.published import tcanet_from_state_dict
from tal_jax.systems.tcanet.sampling import interpolate
from tests.golden import recipe
from tests.systems.tcanet_golden import (
    assert_norms_and_projections,
    load,
    parameters,
    random_variables,
    tolerance,
)

ENCODER = dict(
    heads=8,
    local_heads=4,
    window_size=9,
    hidden=256,
    dropout=0.1,
    attention_scale="head",
    residual="input",
    dtype=jnp.float32,
)
SMALL = dict(
    channels=32, groups=4, hidden=16, samples=(8, 16, 8), heads=4, local_heads=2, window_size=3, encoders=1, stages=2
)  # fmt: skip


def small_problem(channels=8):
    """(features, proposals_sec, mask, covered_sec): two recordings of 20 features, six proposals each."""
    random = np.random.default_rng(0)
    start = random.uniform(0, 12, (2, 6))
    proposals_sec = np.stack([start, start + random.uniform(1, 6, start.shape)], axis=-1)
    arrays = random.standard_normal((2, 20, channels)), proposals_sec, np.ones(start.shape), np.full(2, 20.0)
    return tuple(jnp.asarray(array, jnp.float32) for array in arrays)


def small(**fields):
    """The module with the fields of SMALL, and others in place of these."""
    return tcanet.build(tcanet_config()).clone(**SMALL | fields)


@functools.cache
def compiled(**fields):
    """(variables, compiled apply) of the small network."""
    return random_variables(small(), *small_problem()), jax.jit(small(**fields).apply)


def run(*arrays, **fields):
    variables, apply = compiled(**fields)
    return apply(variables, *arrays)


def assert_same_proposals(found, expected, rows=slice(None), **close):
    for one, other in zip(found.stages, expected.stages):
        for name in ("refined_sec", "confidence"):
            np.testing.assert_allclose(
                getattr(one, name), getattr(other, name)[:, rows], err_msg=name, **close
            )


def test_an_encoder_is_the_published_one():
    case = load("lgte")
    params = parameters(case, "lgtes.0.")["encoder_1"]
    inputs, cotangent = (
        recipe.array(name, [2, 512, 100]).transpose(0, 2, 1) for name in ("lgte_in", "lgte_cot")
    )
    encoder, key_mask = Encoder(**ENCODER), jnp.ones((2, 100), bool)

    @jax.jit
    def run(params, inputs):
        def apply(params, inputs):
            return encoder.apply({"params": params}, inputs, key_mask, mutable="intermediates")

        output, backward, found = jax.vjp(apply, params, inputs, has_aux=True)
        return output, found["intermediates"], *backward(jnp.asarray(cotangent))

    output, found, on_params, on_inputs = run(params, inputs)
    close = functools.partial(np.testing.assert_allclose, **tolerance(case, "values"))
    close(output, case.arrays["output"].transpose(0, 2, 1))
    close(found["attention"][0][..., ::4], case.arrays["attention"].transpose(0, 2, 1))
    assert_norms_and_projections({"encoder_1": on_params}, case, "lgtes.0.")
    np.testing.assert_allclose(
        np.linalg.norm(on_inputs), case.arrays["grad_input_norm"], **tolerance(case, "grad_norm")
    )

    local, everywhere = np.asarray(found["local_weights"][0]), np.asarray(found["global_weights"][0])
    dense = everywhere.sum(1)  # (B, T, T)
    for offset in range(9):
        for query in range(100):
            if 0 <= (key := query + offset - 4) < 100:
                dense[:, query, key] += local[:, query, :, offset].sum(-1)
    close(dense[:, ::5] / 8, case.arrays["attention_weights"])
    allowed = np.asarray(in_window(key_mask, 9))[0]
    for query, masked in enumerate(case.arrays["mask_local"]):
        np.testing.assert_array_equal(np.flatnonzero(masked == 0), query - 4 + np.flatnonzero(allowed[query]))
    assert (local.transpose(0, 2, 1, 3)[:, :, ~allowed] == 0).all()
    assert case.arrays["mask_rows"].tolist() == [100 * 100 - allowed.sum()] * 4 + [0] * 4

    other = Encoder(**ENCODER | dict(window_size=5))
    inputs = recipe.array("lgte_in_w5", [1, 512, 24]).transpose(0, 2, 1)
    output = jax.jit(other.apply)({"params": params}, inputs, jnp.ones((1, 24), bool))
    close(output, case.arrays["output_w5"].transpose(0, 2, 1))


def test_the_whole_network_is_the_published_one():
    case = load("forward")
    features = np.abs(recipe.array("tca_features", [2, 2304, 100])).transpose(0, 2, 1)
    features[1, -17:] = 0
    proposals = case.arrays["proposals"]
    covered = jnp.full(2, 100 * case.info["hyper"]["temporal_interval"])
    config = tcanet_config()
    module = tcanet.build(config)
    mask = proposals.sum(-1) > 0  # what the published code does not drop
    outputs = jax.jit(module.apply)({"params": parameters(case)}, features, proposals, mask, covered)
    close = functools.partial(np.testing.assert_allclose, **tolerance(case, "values"))
    close(outputs.base[..., ::16], case.arrays["base"].transpose(0, 2, 1))
    close(outputs.encoded[..., ::16], case.arrays["encoded"].transpose(0, 2, 1))
    np.testing.assert_array_equal(outputs.mask.sum(1), [12, 10])
    for i, stage in enumerate(outputs.stages):
        close(stage.refined_sec[outputs.mask], case.arrays[f"proposals{i + 1}"])
        close(stage.confidence[outputs.mask], case.arrays[f"iou{i + 1}"])


def test_a_stage_is_the_published_one():
    """Every proposal has a map of its own. Gradients of regression + confidence + 0.1 * <refined, cotangent>."""
    case = load("tbr")
    params = parameters(case, "tbr1.")["stage_1"]
    features = 0.5 * recipe.array("tbr_features", [10, 512, 60]).transpose(0, 2, 1)
    cotangent, gt = recipe.array("tbr_cot", [10, 2])[:, None], case.arrays["gt"][:, None]
    uniforms = jnp.stack([recipe.array(f"tbr_u:{i}", [10], 0, 0, 1)[:, None] for i in range(2)])
    module = tbr.BoundaryRegressor(4, (32, 64, 32), jnp.float32)
    covered = jnp.full(10, 60 * case.info["hyper"]["temporal_interval"])

    def apply(params, features, proposals, g):
        return module.apply({"params": params}, features, proposals, covered, g)

    @jax.jit
    def run(params, features, proposals):
        def total(params, features, proposals):
            stage = apply(params, features, proposals, 1.0)
            terms = losses.stage_terms(stage, gt, jnp.ones((10, 1), bool), 0.5, uniforms)
            values = jnp.stack([term.sum / jnp.maximum(term.count, 1) for term in terms])
            return values.sum() + 0.1 * (stage.refined_sec * cotangent).sum(), (values, stage)

        (_, found), gradients = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(
            params, features, proposals
        )
        return found, gradients, apply(params, features, proposals, 0.2)

    (values, trained), gradients, tested = run(params, features, case.arrays["proposals"][:, None])
    close = functools.partial(np.testing.assert_allclose, **tolerance(case, "values"))
    close(tested.boundary_offsets[:, 0], case.arrays["reg_se"])
    close(tested.segment_offsets[:, 0], case.arrays["reg_xw"][:, :2])
    close(jax.scipy.special.logit(tested.confidence[:, 0]), case.arrays["reg_xw"][:, 2])
    close(tested.confidence[:, 0], case.arrays["confidence"])
    close(tested.refined_sec[:, 0], case.arrays["refined"])
    close(trained.refined_sec[:, 0], case.arrays["refined_training"])
    close(losses.tiou(case.arrays["proposals"], case.arrays["gt"]), case.arrays["iou"])
    np.testing.assert_allclose(values, case.arrays["losses"], **tolerance(case, "losses"))
    assert_norms_and_projections({"stage_1": gradients[0]}, case, "tbr1.")
    np.testing.assert_allclose(
        np.linalg.norm(gradients[1]), case.arrays["grad_features_norm"], **tolerance(case, "grad_norm")
    )
    np.testing.assert_allclose(
        gradients[2][:, 0], case.arrays["grad_proposals"], **tolerance(case, "grad_proposals")
    )


def test_updates_are_the_published_ones():
    case = load("boxes")
    proposals, offsets = case.arrays["proposals"], recipe.array("deltas", [12, 2])
    close = functools.partial(np.testing.assert_allclose, **tolerance(case, "values"))
    close(tbr.move_boundaries(proposals, offsets, 1.0), case.arrays["inv_se_1"])
    close(tbr.move_boundaries(proposals, offsets, 0.2), case.arrays["inv_se_02"])
    close(tbr.move_centre_and_width(proposals, offsets, 0.1, 0.2), case.arrays["inv_xw"])
    fused = tbr.fuse(jnp.array([-3.0, 10.0]), jnp.array([1.0, 20.0]), 0.25)
    np.testing.assert_allclose(fused, [0.0, 17.5])
    crossing = jnp.array([-5.0, 8.0])  # begins before the window, but not before the recording
    np.testing.assert_array_equal(tbr.fuse(crossing, crossing, 0.5, earliest=-20.0), crossing)


def test_grouped_convolutions_are_those_of_jax():
    """Each against lax.conv with groups, from samples of a map too."""
    random = np.random.default_rng(0)
    x, kernel = random.standard_normal((2, 16, 8)), random.standard_normal((4, 3, 2, 3))
    bias, maps, positions = (
        random.standard_normal(12),
        random.standard_normal((2, 9, 8)),
        random.uniform(-1, 9, (2, 3, 16)),
    )
    x, kernel, bias, maps, positions = (
        array.astype(np.float32) for array in (x, kernel, bias, maps, positions)
    )

    @jax.jit
    def both(x, maps, positions):
        as_jax = kernel.transpose(1, 2, 0, 3).reshape(3, 2, 12)
        conv = functools.partial(
            jax.lax.conv_general_dilated,
            rhs=as_jax,
            padding=[(1, 1)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=4,
        )
        sampled = interpolate(maps, positions.reshape(2, -1)).reshape(6, 16, 8)
        wanted = [
            conv(x, window_strides=(1,)),
            conv(x, window_strides=(2,)),
            conv(sampled, window_strides=(2,)),
        ]
        even, odd = convolve_samples(split_groups(maps, 4), positions, kernel, bias)
        halves = jnp.stack([even, odd], axis=4).reshape(4, 6, 8, 3)
        grouped = split_groups(x, 4)
        found = [
            convolve(grouped, kernel, bias),
            convolve_halves(grouped[:, :, 0::2], grouped[:, :, 1::2], kernel, bias),
            halves,
        ]
        return [one + bias for one in wanted], [
            one.transpose(1, 2, 0, 3).reshape(*one.shape[1:3], 12) for one in found
        ]

    for wanted, found in zip(*both(x, maps, positions)):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_proposals_do_not_meet():
    """In another order, in chunks, and beside padding, each comes out the same."""
    features, proposals, mask, covered = small_problem()
    whole = run(features, proposals, mask, covered)
    order = np.array([3, 0, 4, 5, 1, 2])
    assert_same_proposals(
        run(features, proposals[:, order], mask, covered), whole, order, rtol=1e-5, atol=1e-5
    )
    for rows in (slice(0, 3), slice(3, 6)):
        assert_same_proposals(
            run(features, proposals[:, rows], mask[:, rows], covered), whole, rows, rtol=1e-5, atol=1e-5
        )
    more = jnp.pad(proposals, ((0, 0), (0, 2), (0, 0))), jnp.pad(mask, ((0, 0), (0, 2)))
    padded = run(features, *more, covered)
    np.testing.assert_array_equal(padded.mask, [[True] * 6 + [False] * 2] * 2)
    stages = jax.tree.map(lambda x: x[:, :6], padded.stages)
    assert_same_proposals(padded.replace(stages=stages), whole, rtol=1e-5, atol=1e-5)
    stage = whole.stages[0]
    assert np.abs(stage.refined_sec - stage.entering_sec).max() > 0.01


def test_a_feature_scale_is_a_scale():
    """Twice the seconds for the map and for the proposals: twice the seconds for the refined ones."""
    features, proposals, mask, covered = small_problem()
    once, twice = run(features, proposals, mask, covered), run(features, 2 * proposals, mask, 2 * covered)
    np.testing.assert_allclose(
        twice.stages[-1].refined_sec, 2 * once.stages[-1].refined_sec, rtol=1e-4, atol=1e-4
    )


def test_odd_proposals_make_no_nan():
    """Of no width, empty, after the end, longer than the recording, reversed, padding: outputs and
    gradients.
    """
    features, _, mask, covered = small_problem()
    proposals = jnp.array([[[5, 5], [0, 0], [30, 40], [0, 100], [6, 4], [1, 1]]] * 2, jnp.float32)
    module, config = small(encoders=0), tcanet_config()
    variables = random_variables(module, *small_problem())

    @jax.jit
    def gradients(variables, proposals):
        def total(variables, proposals):
            outputs = module.apply(variables, features, proposals, mask.at[:, 5].set(0), covered, train=True)
            terms = losses.all_terms(config, outputs, jnp.zeros((2, 6, 2)), jnp.ones((2, 2, 2, 6)))
            return sum(term.sum for term in terms.values()), outputs

        return jax.value_and_grad(total, (0, 1), has_aux=True)(variables, proposals)

    (_, outputs), found = gradients(variables, proposals)
    for array in jax.tree.leaves((outputs, found)):
        assert np.isfinite(array).all()
    np.testing.assert_array_equal(outputs.mask[0], [True] * 5 + [False])
    np.testing.assert_array_equal(found[1][:, 5], 0)


def test_the_mask_alone_says_what_is_padding():
    """Times count from the start of the features: what lies before it is a proposal like any other."""
    features, proposals, mask, covered = small_problem()
    early = proposals.at[:, 1].set(jnp.array([-0.9, -0.6])).at[:, 3].set(jnp.array([-0.5, 0.5]))
    outputs = run(features, early, mask.at[:, 4].set(0), covered, None, -0.9)
    np.testing.assert_array_equal(outputs.mask, [[True] * 4 + [False, True]] * 2)


def test_the_padding_mask_hides_padding():
    features, *rest = small_problem()
    lengths = jnp.array([14, 20])
    quiet, loud = features.at[0, 14:].set(0.0), features.at[0, 14:].set(9.0)
    masked = [run(x, *rest, lengths, padding_mask=True, stages=0).encoded[0] for x in (quiet, loud)]
    plain = [run(x, *rest, lengths, stages=0).encoded[0] for x in (quiet, loud)]
    # The convolutions carry padding two steps far, and so does the attention to the steps they reach; the
    # mask hides the rest.
    inner = [run(x, *rest, lengths - 2, padding_mask=True, stages=0).encoded[0, :11] for x in (quiet, loud)]
    np.testing.assert_allclose(*inner, rtol=1e-5, atol=1e-5)
    assert np.abs(plain[0] - plain[1])[:8].max() > 1.2 * np.abs(masked[0] - masked[1])[:8].max() > 0


def test_fields_of_the_report():
    """attention_scale, residual and local heads change what is encoded, g and the steps what is refined."""
    problem = small_problem()
    base = run(*problem, stages=0)
    for fields in (
        dict(attention_scale="channels"),
        dict(residual="output"),
        dict(local_heads=4),
        dict(local_heads=0),
    ):
        assert np.abs(run(*problem, stages=0, **fields).encoded - base.encoded).max() > 1e-4, fields
    segments, offsets = jnp.array([[10.0, 14.0]]), jnp.array([[0.5, -0.25]])
    np.testing.assert_allclose(tbr.move_boundaries(segments, offsets, 0.2), [[10.4, 13.8]], rtol=1e-6)
    np.testing.assert_allclose(
        tbr.move_centre_and_width(segments, jnp.array([[0.5, np.log(2.0)]]), 1.0, 1.0),
        [[10.0, 18.0]],
        rtol=1e-6,
    )
    stage, moved = run(*problem).stages[0], run(*problem, g_test=1.0, stages=1).stages[0]
    difference = 0.5 * 0.8 * stage.boundary_offsets * np.diff(stage.entering_sec)
    unclipped = (stage.refined_sec > 0) & (moved.refined_sec > 0)
    np.testing.assert_allclose(
        (moved.refined_sec - stage.refined_sec)[unclipped], difference[unclipped], rtol=1e-3, atol=1e-4
    )


def test_stages_learn_through_those_that_follow_unless_detached():
    problem = small_problem()
    variables, sizes = random_variables(small(encoders=0), *problem), []
    for detached in (False, True):
        module = small(encoders=0, detach_stages=detached)

        def last(params, module=module):
            stages = module.apply({"params": variables["params"] | {"stage_1": params}}, *problem).stages
            return stages[-1].confidence.sum()

        gradient = jax.jit(jax.grad(last))(variables["params"]["stage_1"])
        sizes.append(sum(np.abs(leaf).sum() for leaf in jax.tree.leaves(gradient)))
    assert sizes[0] > 0 and sizes[1] == 0


def test_dropout_and_bfloat16():
    problem = small_problem()
    model = small(dropout=0.3, stages=0)
    apply = jax.jit(
        lambda key: model.apply(compiled()[0], *problem, train=True, rngs={"dropout": key}).encoded
    )
    first, again, other = apply(jax.random.key(0)), apply(jax.random.key(0)), apply(jax.random.key(1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    half, full = run(*problem, dtype=jnp.bfloat16), run(*problem)
    assert half.stages[-1].refined_sec.dtype == jnp.float32
    assert_same_proposals(half, full, rtol=0.1, atol=0.1)
    assert np.abs(half.encoded - full.encoded).max() > 1e-4


def test_sizes_are_the_published_ones():
    config = tcanet_config()
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((1, 100, 2304), (1, 3, 2), (1, 3), (1,))]
    params = jax.eval_shape(tcanet.build(config).init, jax.random.key(0), *shapes)["params"]
    sizes = {name: sum(leaf.size for leaf in jax.tree.leaves(tree)) for name, tree in params.items()}
    assert sizes["base_1"] + sizes["base_2"] == 1_082_368
    assert sizes["encoder_1"] == 1_315_584 and sizes["stage_3"] == 2_618_885
    assert sum(sizes.values()) == 11_570_191


def test_unknown_names_and_masks_of_a_checkpoint():
    case = load("lgte")
    values = {
        f"module.lgtes.0.{name}": np.zeros(shape, np.float32) for name, shape in case.info["params"].items()
    }
    tree = tcanet_from_state_dict(values | {"module.lgtes.0.self_atten.mask_matrix": np.zeros((1, 8, 4, 4))})
    assert set(tree["encoder_1"]) == {"query_key_value", "output", "expand", "contract", "norm_1", "norm_2"}
    with pytest.raises(DataError, match="not of a published TCANet checkpoint: tbr4.weight"):
        tcanet_from_state_dict({"tbr4.weight": np.zeros(3)})


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("model.channels", 100, "must be a multiple of 4 times config.model.groups, 4"),
        ("model.heads", 7, "must be a multiple of config.model.heads, 7"),
        ("model.local_heads", 9, "must be from 0 to config.model.heads, 8"),
        ("model.window_size", 8, "it must be odd"),
        ("model.samples", (32, 63, 32), "three multiples of 4"),
        ("readings", ("residual=none",), "may have residual=input or residual=output"),
        ("model.dropout", 1.0, "below 1"),
        ("decode.confidence_stage", 4, "from 1 to 3"),
        ("decode.nms_sigma", 0.0, "config.decode.nms_sigma is 0.0; it must be above 0"),
        ("loss.iou_thresholds", (0.2, 0.5), "above 0.3, the end of the low band"),
        ("curriculum.alpha_0", 2.0, "from 0 to 1"),
        ("readings", ("first_epoch=2",), "config.readings has 'first_epoch=2'; it may have first_epoch=0 or"),
        ("window.proposals", 0, "at least 1"),
    ],
)
def test_bad_fields_have_a_sentence(field, value, sentence):
    config = tcanet_config()
    config.decode.classes = "proposals"
    with config.unlocked():
        config.update_from_flattened_dict({field: value})
    with pytest.raises(DataError, match=sentence):
        require_valid(config, training=True)


def test_channels_must_go_into_the_groups():
    with pytest.raises(DataError, match="have 6 channels; they must be a multiple of config.model.groups, 4"):
        jax.eval_shape(small().init, jax.random.key(0), *small_problem(channels=6))
