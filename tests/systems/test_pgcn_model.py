"""The network of P-GCN against the published one, its two forms against each other, and the rows of its
ablations.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.errors import DataError
from tal_jax.systems import pgcn, require_valid
from tal_jax.systems.pgcn import graph
from tal_jax.systems.pgcn.config import ROWS, pgcn_config
from tal_jax.systems.pgcn.model import cosines, tree_neighbours
from tal_jax.systems.pgcn.published import pgcn_from_state_dict
from tests.golden import recipe
from tests.golden_case import GoldenCase
from tests.systems.pgcn_case import golden_parameters, golden_variables

CHANNELS, CLASSES = 4, 3


def golden_inputs(case, action, completeness, signed=False):
    """Features of both branches: drawn apart, whereas the network takes one array whose middle third is the
    action branch's.
    """
    seed, low = case.info["seed"], (() if signed else (-0.3, 1))
    return recipe.array(*action, seed, *low), recipe.array(*completeness, seed, *low)


def published(classes):
    """The module of the published config."""
    return pgcn.build(pgcn_config(), classes)


@functools.cache
def compiled(module):
    return jax.jit(module.apply)


def run_branches(action_features, completeness_features, neighbours=None, sampled=4):
    """Outputs of the action branch on the one, of the completeness branch on the other: two passes."""
    run = functools.partial(compiled(published(20).clone(sampled=sampled)), golden_variables())
    rest = np.zeros_like(action_features)
    inner = np.concatenate([rest, action_features, rest], axis=-1)
    return run(inner, neighbours), run(completeness_features, neighbours)


def test_golden_trees():
    case = GoldenCase.load("pgcn/forward_tree")
    inputs = golden_inputs(case, ("act_ft", [6, 21, 1024]), ("comp_ft", [6, 21, 3072]))
    of_action, of_completeness = run_branches(*(x[None] for x in inputs))
    tolerance, arrays = dict(rtol=2e-4, atol=2e-4), case.arrays
    np.testing.assert_allclose(of_action.activity_logits[0], arrays["act_score"], **tolerance)
    np.testing.assert_allclose(of_completeness.completeness_logits[0], arrays["comp_score"], **tolerance)
    np.testing.assert_allclose(of_completeness.regression.reshape(6, 40), arrays["reg_score"], **tolerance)
    np.testing.assert_allclose(of_action.action_features[0], arrays["act_gcn"], **tolerance)
    np.testing.assert_allclose(of_completeness.completeness_features[0], arrays["comp_gcn"], **tolerance)
    np.testing.assert_array_equal(of_completeness.offsets, of_completeness.regression)
    for name, found in (
        ("act_adj", of_action.action_adjacency),
        ("comp_adj", of_completeness.completeness_adjacency),
    ):
        np.testing.assert_allclose(found[0], arrays[name][:, :5], rtol=0, atol=1e-5)
        assert not arrays[name][:, 5:].any()


def test_golden_adjacency_of_opposite_features():
    case = GoldenCase.load("pgcn/forward_tree")
    action, completeness = golden_inputs(
        case, ("act_ft_signed", [2, 21, 1024]), ("comp_ft_signed", [2, 21, 3072]), signed=True
    )
    action[:, 5:9] = 0.5 * action[:, 1:5] + action[:, 5:9]
    action[:, 1], completeness[:, 1] = -action[:, 0], -completeness[:, 0]
    of_action, of_completeness = run_branches(action[None], completeness[None])
    for name, found in (
        ("signed_act_adj", of_action.action_adjacency),
        ("signed_comp_adj", of_completeness.completeness_adjacency),
    ):
        blocks = case.arrays[name].reshape(2, 21, 2, 21)[[0, 1], :, [0, 1]]
        np.testing.assert_allclose(found[0], blocks[:, :5], rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def full():
    """(case, inputs of both branches, outputs of both for all 40 proposals at once)."""
    case = GoldenCase.load("pgcn/forward_full")
    inputs = golden_inputs(case, ("full_act_ft", [40, 1024]), ("full_comp_ft", [40, 3072]))
    counts = graph.neighbour_counts(case.arrays["candidates"], 48)  # with padding
    padded = [np.pad(x, ((0, 8), (0, 0))) for x in inputs]
    return case, inputs, run_branches(*padded, neighbours=counts)


def test_golden_full_graph(full):
    case, _, (of_action, of_completeness) = full
    tolerance, arrays = dict(rtol=2e-4, atol=2e-4), case.arrays
    np.testing.assert_allclose(of_action.activity_logits[:40], arrays["act_score"], **tolerance)
    np.testing.assert_allclose(of_completeness.completeness_logits[:40], arrays["comp_score"], **tolerance)
    np.testing.assert_allclose(
        of_completeness.regression[:40].reshape(40, 40), arrays["reg_score"], **tolerance
    )


def test_trees_of_all_neighbours_are_the_full_graph(full):
    case, inputs, (of_action, of_completeness) = full
    candidates = case.arrays["candidates"]
    trees = np.stack(
        [graph.sample_tree(i, candidates, 10, np.random.default_rng(0)) for i in range(0, 40, 13)]
    )
    assert trees.shape == (4, 111)
    tree_action, tree_completeness = run_branches(*(x[trees] for x in inputs), sampled=10)
    pairs = [
        (tree_action.activity_logits, of_action.activity_logits),
        (tree_completeness.completeness_logits, of_completeness.completeness_logits),
        (tree_completeness.regression, of_completeness.regression),
    ]
    for tree, full_graph in pairs:
        np.testing.assert_allclose(tree, full_graph[trees[:, 0]], rtol=2e-5, atol=2e-5)


def test_number_of_parameters():
    def count(classes):
        inputs = jax.ShapeDtypeStruct((1, 1, 21, 3072), jnp.float32)
        params = jax.eval_shape(published(classes).init, jax.random.key(0), inputs)["params"]
        return sum(leaf.size for leaf in jax.tree.leaves(params))

    assert count(20) == 4_611_153 and count(200) == 8_298_273


def test_published_names_and_target_statistics():
    parameters = golden_parameters()
    variables = pgcn_from_state_dict(parameters, [[1, 2], [3, 4]])
    inputs = jax.ShapeDtypeStruct((1, 1, 21, 3072), jnp.float32)
    expected = jax.eval_shape(published(20).init, jax.random.key(0), inputs)
    assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, expected)
    np.testing.assert_array_equal(variables["target_statistics"]["mean"], [1, 2])
    np.testing.assert_array_equal(variables["target_statistics"]["std"], [3, 4])
    with pytest.raises(DataError, match="are not of a published P-GCN checkpoint: other"):
        pgcn_from_state_dict(parameters | {"other": 1})


# --- small networks ---


def small_config(row="full", variant="pgcn"):
    config = pgcn_config(variant, row)
    config.model.hidden = 5
    return config


def features_of(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((*shape, 3 * CHANNELS)).astype(np.float32)


@functools.cache
def small(row="full", variant="pgcn", sampled=None):
    """(module, variables, its compiled application) of one row; sampled: in place of the row's."""
    config = small_config(row, variant)
    config.model.sampled = sampled or config.model.sampled
    module = pgcn.build(config, CLASSES)
    shapes = jax.eval_shape(
        module.init, jax.random.key(0), features_of(1, 1, 1 + module.sampled + module.sampled**2)
    )
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: np.float32(0.3 * rng.standard_normal(leaf.shape)), shapes["params"])
    statistics = {"mean": np.zeros(2, np.float32), "std": np.ones(2, np.float32)}
    return module, {"params": params, "target_statistics": statistics}, compiled(module)


def proposal_graph(count, seed=0, **kinds):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 60, count)
    return graph.candidates(np.stack([start, start + rng.integers(20, 40, count)], axis=1), **kinds)


def heads(outputs):
    return {
        name: np.asarray(getattr(outputs, name))
        for name in ("activity_logits", "completeness_logits", "regression", "auxiliary_logits")
        if getattr(outputs, name) is not None
    }


def assert_same(first, second, rows=slice(None)):
    for name, value in heads(first).items():
        np.testing.assert_allclose(value, heads(second)[name][rows], rtol=1e-5, atol=1e-6, err_msg=name)


def test_nodes_of_a_tree():
    children = tree_neighbours(2)
    np.testing.assert_array_equal(
        children, [[0, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 1, 1]]
    )
    assert tree_neighbours(4).shape == (5, 21) and tree_neighbours(1).shape == (2, 3)


def test_cosines_by_hand():
    found = cosines(jnp.array([[3.0, 4], [4, 3], [-3, -4], [0, 0], [1e-6, 0]]), 2)
    np.testing.assert_allclose(found, [[1, 0.96, -1, 0, 0.6], [0.96, 1, -0.96, 0, 0.8]], atol=1e-6)


def test_a_layer_of_the_full_graph_by_hand():
    """P-GCN Eq. 4, 9 and 10, twice, in NumPy."""
    _, variables, apply = small()
    features, neighbours = features_of(6), proposal_graph(6)
    outputs = apply(variables, features, graph.neighbour_counts(neighbours, 6))
    p = variables["params"]["completeness_branch"]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)

    def layer(x, number):
        aggregated = x.copy()
        for i, mine in enumerate(neighbours):
            aggregated[i] += sum(max(unit[i] @ unit[j], 0) * x[j] for j in mine) / 10
        return aggregated @ p[f"layer_{number}_kernel"] + p[f"layer_{number}_bias"]

    expected = layer(np.maximum(layer(features, 1), 0), 2)
    np.testing.assert_allclose(outputs.completeness_features, expected, rtol=1e-4, atol=1e-5)
    head = variables["params"]["completeness_head"]
    expected = np.concatenate([expected, features], axis=1) @ head["kernel"] + head["bias"]
    np.testing.assert_allclose(outputs.completeness_logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("row", ROWS)
def test_both_forms_of_every_row_agree(row):
    """A tree whose nodes have all their neighbours says of its centre what the full graph says."""
    kinds = small_config(row).graph
    _, variables, apply = small(row, sampled=10)
    neighbours = proposal_graph(12, contextual=kinds.contextual, surrounding=kinds.surrounding)
    features = features_of(12)
    trees = np.stack([graph.sample_tree(i, neighbours, 10, np.random.default_rng(i)) for i in (0, 5)])
    full_graph = apply(variables, features, graph.neighbour_counts(neighbours, 12))
    assert_same(apply(variables, features[trees]), full_graph, np.array([0, 5]))


def test_rows_differ_in_what_they_compute():
    features, counts = features_of(12), graph.neighbour_counts(proposal_graph(12), 12)
    found = {
        row: apply(variables, features, counts)
        for row in ROWS
        for _, variables, apply in [small(row, sampled=10)]
    }
    action = {row: outputs.action_features for row, outputs in found.items()}
    for same, others in (
        ("mlp_mlp", ("mlp_gcn",)),
        ("full", ("gcn_mlp", "gcn_mean")),
        ("mean_mean", ("mean_gcn",)),
    ):
        for other in others:
            np.testing.assert_array_equal(action[same], action[other])
    different = ["full", "mlp_mlp", "mean_mean", "no_self_term"]
    assert all((action[a] != action[b]).any() for i, a in enumerate(different) for b in different[:i])
    assert found["mlp_mlp"].action_adjacency is None and found["gcn_mlp"].completeness_adjacency is None
    names = {row: set(small(row)[1]["params"]["action_branch"]) for row in ("full", "embedded_cos")}
    assert names["embedded_cos"] - names["full"] == {"embedding"}


def test_the_adjacency_of_means_has_rows_of_sum_1():
    _, variables, apply = small("mean_mean")
    outputs = apply(variables, features_of(6), graph.neighbour_counts(proposal_graph(6), 6))
    np.testing.assert_allclose(outputs.action_adjacency.sum(-1), 1, rtol=1e-6)
    tree = apply(variables, features_of(2, 3, 21)).action_adjacency
    np.testing.assert_allclose(tree, (tree_neighbours(4) + np.eye(5, 21)) / 5, rtol=1e-6)  # one for all trees


@pytest.mark.parametrize("row", ["full", "mean_mean"])
def test_a_permutation_of_proposals_permutes_the_outputs(row):
    _, variables, apply = small(row)
    features, counts = features_of(12), graph.neighbour_counts(proposal_graph(12), 12)
    order = np.random.default_rng(1).permutation(12)
    assert_same(
        apply(variables, features[order], counts[order][:, order]), apply(variables, features, counts), order
    )


@pytest.mark.parametrize("row", ["full", "mean_mean", "no_self_term", "embedded_cos"])
def test_padding_changes_nothing(row):
    _, variables, apply = small(row)
    features, neighbours = features_of(7), proposal_graph(7)
    alone = apply(variables, features, graph.neighbour_counts(neighbours, 7))
    padded = np.pad(features, ((0, 5), (0, 0)), constant_values=9.0)
    assert_same(alone, apply(variables, padded, graph.neighbour_counts(neighbours, 12)), slice(0, 7))


@pytest.mark.parametrize("row", ["full", "embedded_cos"])
def test_no_proposal_one_proposal_and_zero_features(row):
    _, variables, apply = small(row, "pgcn_dw")
    for count in (0, 1):
        outputs = apply(variables, features_of(count), graph.neighbour_counts(proposal_graph(count), count))
        assert outputs.activity_logits.shape == (count, CLASSES + 1) and outputs.regression.shape == (
            count,
            CLASSES,
            2,
        )
    outputs = apply(variables, 0 * features_of(4), graph.neighbour_counts(proposal_graph(4), 4))
    assert all(np.isfinite(value).all() for value in heads(outputs).values())

    def size(variables):
        outputs = apply(variables, 0 * features_of(1, 2, 21))
        return sum(
            (value**2).sum()
            for value in (outputs.activity_logits, outputs.regression, outputs.auxiliary_logits)
        )

    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.jit(jax.grad(size))(variables)))


def test_videos_of_a_batch_do_not_meet():
    _, variables, apply = small()
    features, counts = (
        features_of(2, 7),
        np.stack([graph.neighbour_counts(proposal_graph(7, seed), 7) for seed in range(2)]),
    )
    together = apply(variables, features, counts)
    for i in range(2):
        alone = apply(variables, features[i], counts[i])
        np.testing.assert_allclose(together.activity_logits[i], alone.activity_logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "features, channels, read",
    [("both", 8, {"action", "completeness"}), ("cls", 2, {"action"}), ("loc", 6, {"completeness"})],
)
def test_what_the_auxiliary_head_reads(features, channels, read):
    config, trees = pgcn_config("pgcn_dw"), features_of(1, 2, 21)
    config.model.hidden = 8
    config.readings = (f"auxiliary_features={features}",)
    module = pgcn.build(config, CLASSES)
    variables = jax.jit(module.init)(jax.random.key(0), trees)
    assert variables["params"]["auxiliary_hidden"]["kernel"].shape == (channels * CHANNELS, 512)
    slopes = jax.jit(jax.grad(lambda v: module.apply(v, trees).auxiliary_logits.sum()))(variables)["params"]
    for name in ("action", "completeness"):
        assert slopes[f"{name}_branch"]["layer_2_kernel"].any() == (name in read)


def test_dropout_acts_in_training_alone_and_where_it_should():
    module, variables, apply = small("full", "pgcn_dw")
    trees = features_of(2, 3, 21)

    @functools.partial(jax.jit, static_argnums=0)
    def train(module, seed):
        return module.apply(variables, trees, train=True, rngs={"dropout": jax.random.key(seed)})

    tested = heads(apply(variables, trees))
    first, second, again = (heads(train(module, seed)) for seed in (0, 1, 0))
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        assert (value != second[name]).any() and (value != tested[name]).any()
    # what is left is before the activity head
    for name, value in heads(train(module.clone(branch_dropout=0.0), 0)).items():
        same = np.allclose(value, tested[name], rtol=1e-5, atol=1e-6)
        assert same == (name != "activity_logits")


def test_the_middle_third_is_the_inner_feature():
    _, variables, apply = small()
    trees = features_of(1, 2, 21)
    outer = trees.copy()
    outer[..., :CHANNELS] += 1
    outer[..., 2 * CHANNELS :] -= 1
    before, after = apply(variables, trees), apply(variables, outer)
    np.testing.assert_array_equal(before.activity_logits, after.activity_logits)
    assert (before.completeness_logits != after.completeness_logits).all()


def test_offsets_are_the_regression_with_its_statistics():
    _, variables, apply = small()
    statistics = {"mean": jnp.array([1.0, 2.0]), "std": jnp.array([3.0, 4.0])}
    outputs = apply(variables | {"target_statistics": statistics}, features_of(1, 2, 21))
    np.testing.assert_allclose(outputs.offsets, np.multiply(outputs.regression, [3, 4]) + [1, 2], rtol=1e-6)


def test_bfloat16_is_near_float32():
    config = small_config()
    config.train.mixed_precision = True
    _, variables, apply = small()
    half = compiled(pgcn.build(config, CLASSES))(variables, features_of(2, 3, 21))
    assert half.activity_logits.dtype == jnp.float32
    np.testing.assert_allclose(
        half.completeness_features, apply(variables, features_of(2, 3, 21)).completeness_features, atol=0.1
    )


# --- config ---


@pytest.mark.parametrize("variant", ["pgcn", "pgcn_dw"])
def test_every_row_is_valid(variant):
    for row in ROWS:
        require_valid(pgcn_config(variant, row), training=True)
    assert pgcn_config(variant).curriculum.weights == (variant == "pgcn_dw")
    assert ("auxiliary_head" in small("full", variant)[1]["params"]) == (variant == "pgcn_dw")
    with pytest.raises(DataError, match=f"{variant} has no row 'foo'; its rows are full, mlp_mlp"):
        pgcn_config(variant, "foo")


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        (
            "readings",
            ("action_branch=cnn",),
            "may have action_branch=gcn or action_branch=mlp or action_branch=mean.",
        ),
        ("model.hidden", 0, "config.model.hidden is 0; it must be at least 1."),
        ("model.sampled", 11, "together they must be at least config.model.sampled, which is 11"),
        ("graph.surrounding", 248, "config.graph.surrounding is 248; together they may be at most 255"),
        ("graph.contextual", -1, "config.graph.contextual is -1; it must be at least 0"),
        ("decode.proposals", 0, "config.decode.proposals is 0; it must be at least 1"),
        ("decode.recording_classes", 0, "config.decode.recording_classes is 0; it must be at least 1"),
        ("decode.nms_tiou", 1.5, "config.decode.nms_tiou is 1.5; it must be above 0 and at most 1"),
        (
            "decode.fused_nms_tiou",
            0.0,
            "config.decode.fused_nms_tiou is 0.0; it must be above 0 and at most 1",
        ),
        ("curriculum.alpha_0", -0.1, "config.curriculum.alpha_0 is -0.1; it must be from 0 to 1"),
        ("curriculum.alpha_0", 2.0, "config.curriculum.alpha_0 is 2.0; it must be from 0 to 1"),
        ("model.dropout", 1.0, "config.model.dropout is 1.0; it must be at least 0 and below 1"),
        (
            "decode.fusion_weights",
            (0.0, 0.0),
            "config.decode.fusion_weights is .0.0, 0.0.; it must be two numbers",
        ),
        ("pools.foreground", 0, "config.pools.foreground is 0; it must be at least 1"),
        ("pools.repeats", 0, "config.pools.repeats is 0"),
        ("loss.hard_negative_share", 2.0, "config.loss.hard_negative_share is 2.0"),
        ("readings", ("weighted=foo",), "it may have weighted=activity.completeness.regression or"),
        ("readings", ("first_epoch=3",), "config.readings has 'first_epoch=3'; it may have first_epoch=0 or"),
        (
            "readings",
            ("auxiliary_features=towers",),
            "may have auxiliary_features=both or auxiliary_features=cls or",
        ),
        ("readings", ("auxiliary_normaliser=none",), "=positives or auxiliary_normaliser=all"),
        (
            "readings",
            ("decode.final_score=best",),
            "final_score=times_completeness or decode.final_score=replace",
        ),
    ],
)
def test_a_bad_field_is_named(field, value, sentence):
    config = pgcn_config()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(DataError, match=sentence):
        require_valid(config, training=True)
