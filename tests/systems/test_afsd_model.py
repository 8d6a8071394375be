"""The AFSD network against the published one, and properties of its parts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.systems.afsd import model as afsd_model
from tal_jax.systems.afsd.layers import upsample_nearest
from tal_jax.systems.afsd.losses import contrastive_features
from tal_jax.systems.afsd.model import AFSD, boundary_regions
from tal_jax.systems.afsd.published import afsd_from_state_dict
from tests.golden_case import GoldenCase

THUMOS = dict(num_classes=20, window=256)
ACTIVITYNET = dict(
    num_classes=1, window=768, top_down=False, distance_multipliers=(4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
)
RENAMED = dict(
    loc="coarse_distances", conf="coarse_logits", prop_loc="refined_offsets", prop_conf="refined_logits",
    segments="level_regions", frame_segments="frame_regions",
)  # fmt: skip


@pytest.mark.parametrize(
    "name, settings", [("pyramid_and_heads", THUMOS), ("anet_pyramid_and_heads", ACTIVITYNET)]
)
def test_network_gives_the_published_outputs(name, settings):
    case = GoldenCase.load(f"afsd/{name}")
    finer = case.input("Mixed_4f").transpose(0, 2, 3, 4, 1) if settings is THUMOS else None
    maps = (finer, case.input("Mixed_5c").transpose(0, 2, 3, 4, 1))
    params = afsd_from_state_dict(case.parameters(), top_down=settings.get("top_down", True))
    model = AFSD(**settings)
    with jax.default_matmul_precision("highest"):
        ours = jax.jit(lambda p, m: model.apply({"params": p}, m))(params, maps)
    assert_published_outputs(case, ours, settings["window"])

    first = jax.tree.map(lambda x: x[:1], ours)
    triples = contrastive_features(first, jnp.asarray(case.input("ssl_proposals"))[None])
    for i, triple in enumerate(triples):
        for value, role in zip(triple, ("anchor", "positive", "negative")):
            np.testing.assert_allclose(value, case.arrays[f"{role}_{i}"], **case.info["tolerances"]["all"])


def assert_published_outputs(case, ours, window):
    """Outputs against the arrays of a golden case, whose boundaries must be exactly the same."""
    tolerance = case.info["tolerances"]["all"]

    def close(value, golden):
        np.testing.assert_allclose(
            value, case.arrays[golden], rtol=tolerance["rtol"], atol=tolerance["atol"], err_msg=golden
        )

    for golden, attribute in RENAMED.items():
        close(getattr(ours, attribute), golden)
    np.testing.assert_array_equal(ours.level_regions, case.arrays["segments"])
    np.testing.assert_array_equal(ours.frame_regions, case.arrays["frame_segments"])
    close(ours.quality_logits[..., None], "center")
    np.testing.assert_allclose(ours.anchors / window, case.arrays["priors"][0, :, 0], rtol=1e-6)
    close(ours.frame_feature[..., :256], "start")
    close(ours.frame_feature[..., 256:], "end")
    for sides, ending in ((ours.loc_sides, "loc_prop"), (ours.cls_sides, "conf_prop")):
        close(sides[..., :512], f"start_{ending}")
        close(sides[..., 512:], f"end_{ending}")
    for level, feature in enumerate(ours.pyramid):
        if f"pyramid_{level}" in case.arrays:
            close(feature.transpose(0, 2, 1), f"pyramid_{level}")


def small(features="both"):
    """AFSD of 8 channels with an auxiliary branch that reads `features`."""
    return AFSD(num_classes=2, window=128, channels=8, groups=4, auxiliary=True, auxiliary_features=features)


@functools.cache
def small_problem():
    """Maps of a recording, and random parameters of `small`."""
    rng = np.random.default_rng(0)
    maps = tuple(rng.standard_normal((1, length, 1, 1, 8)).astype(np.float32) for length in (32, 16))
    shapes = jax.eval_shape(small().init, jax.random.key(0), maps)["params"]
    return maps, jax.tree.map(lambda leaf: 0.3 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)


READS = {  # auxiliary_features -> the modules whose parameters change the auxiliary logits
    "both": ({"loc_branch", "cls_branch"}, set()),
    "cls": ({"cls_branch"}, {"loc_branch"}),
    "loc": ({"loc_branch"}, {"cls_branch"}),
    "towers": ({"loc_tower_1", "cls_tower_1"}, {"loc_branch", "cls_branch"}),
}


@pytest.mark.parametrize("features", READS)
def test_what_the_auxiliary_branch_reads(features, monkeypatch):
    monkeypatch.setattr(afsd_model, "NUM_LEVELS", 2)  # which compiles in a third of the time of 6
    maps, params = small_problem()
    channels = 16 if features in ("both", "towers") else 8
    params = jax.tree.map(lambda leaf: leaf, params)  # a copy
    reduce = params["auxiliary_reduce"]["conv"]["conv"]
    reduce["kernel"] = reduce["kernel"][:, :channels]
    model = small(features)
    shapes = jax.eval_shape(model.init, jax.random.key(0), maps)["params"]
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)

    def size(params):
        return jnp.square(model.apply({"params": params}, maps).auxiliary_logits).sum()

    slopes = jax.jit(jax.grad(size))(params)
    reached = {name for name, tree in slopes.items() if any(leaf.any() for leaf in jax.tree.leaves(tree))}
    read, not_read = READS[features]
    assert read <= reached and not not_read & reached


def test_regions_reach_a_quarter_inside_and_a_tenth_outside():
    regions = boundary_regions(jnp.array([20.0, 20.0]), jnp.array(50.0), plus_one=False)
    np.testing.assert_array_equal(regions, [26, 40, 60, 74])
    tiny = boundary_regions(jnp.array([0.5, 0.5]), jnp.array(50.0), plus_one=False)
    np.testing.assert_array_equal(tiny, [48, 50, 50, 52])  # at least one cell; 48.5 and 51.5 round to even


def test_upsampling_repeats_the_nearest_cell():
    np.testing.assert_array_equal(
        upsample_nearest(jnp.array([[[1.0], [2.0]]]), 6)[0, :, 0], [1, 1, 1, 2, 2, 2]
    )
