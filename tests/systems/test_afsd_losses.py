"""Label assignment and losses of AFSD against the published ones, and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.systems.afsd import losses
from tal_jax.systems.afsd.config import afsd_config
from tal_jax.systems.afsd.model import Outputs
from tal_jax.systems.afsd.targets import assign, assign_coarse
from tests.golden import recipe
from tests.golden_case import GoldenCase

PREDICTIONS = dict(
    coarse_distances="loc",
    coarse_logits="conf",
    refined_offsets="prop_loc",
    refined_logits="prop_conf",
    quality_logits="center",
)
TERMS = ("loc", "cls", "refined_loc", "refined_cls", "quality")
GRADIENTS = [  # our term, our output, the reference's name
    ("loc", "coarse_distances", "d_loss_l_d_loc"),
    ("cls", "coarse_logits", "d_loss_c_d_conf"),
    ("refined_loc", "refined_offsets", "d_loss_prop_l_d_prop_loc"),
    ("refined_cls", "refined_logits", "d_loss_prop_c_d_prop_conf"),
    ("quality", "coarse_distances", "d_loss_ct_d_loc"),
    ("quality", "refined_offsets", "d_loss_ct_d_prop_loc"),
    ("quality", "quality_logits", "d_loss_ct_d_center"),
]


def thumos_config():
    config = afsd_config("afsd")
    return config, 256, [64, 32, 16, 8, 4, 2]


def activitynet_config():
    config = afsd_config("afsd")
    config.loss.update(
        loc_weight=1.0,
        level_bounds=((0, 30), (15, 60), (30, 120), (60, 240), (96, 768), (256, 768)),
    )  # fmt: skip
    config.recipe = "activitynet"
    return config, 768, [96, 48, 24, 12, 6, 3]


def golden_problem(case, sub_case, window, cells):
    """Outputs and batch of one sub-case of the golden losses."""
    values = {ours: jnp.asarray(case.input(f"{sub_case}_{theirs}")) for ours, theirs in PREDICTIONS.items()}
    values["quality_logits"] = values["quality_logits"][..., 0]
    size = len(values["coarse_logits"])
    outputs = Outputs(
        anchors=jnp.asarray(case.input("priors")[:, 0]) * window,
        auxiliary_logits=None, frame_feature=None, loc_sides=None, cls_sides=None, level_regions=None, frame_regions=None,
        pyramid=tuple(jnp.zeros((size, n, 1)) for n in cells),
        **values,
    )  # fmt: skip
    targets = [case.input(f"{sub_case}_target_{i}") for i in range(size)]
    most = max(len(t) for t in targets)
    padded = np.stack([np.pad(t, ((0, most - len(t)), (0, 0))) for t in targets])
    batch = dict(
        segments_frame=jnp.asarray(padded[..., :2] * window),
        labels=jnp.asarray(padded[..., 2].astype(np.int32)),
        num_frames=jnp.full(size, window),
        sample_mask=jnp.ones(size),
    )
    return outputs, batch


def values_of(terms):
    return jnp.stack([terms[name].sum / jnp.maximum(terms[name].count, 1) for name in TERMS])


@pytest.mark.parametrize(
    "name, make_config, sub_case",
    [
        ("losses", thumos_config, s)
        for s in ("mixed", "no_positive", "no_refined_positive", "batch1", "identical_truths")
    ]
    + [("anet_losses", activitynet_config, s) for s in ("mixed", "poor", "none")],
)
def test_detection_losses_and_gradients_are_the_published_ones(name, make_config, sub_case):
    case = GoldenCase.load(f"afsd/{name}")
    config, window, cells = make_config()
    outputs, batch = golden_problem(case, sub_case, window, cells)

    targets = assign(config, outputs, batch)
    np.testing.assert_array_equal(targets.coarse_labels, case.arrays[f"{sub_case}_conf_t"])
    np.testing.assert_array_equal(targets.refined_labels, case.arrays[f"{sub_case}_prop_conf_t"])
    if f"{sub_case}_loc_t" in case.arrays:
        positive = np.asarray(targets.coarse_labels) > 0
        np.testing.assert_allclose(
            targets.distances[positive], case.arrays[f"{sub_case}_loc_t"][positive], atol=1e-4
        )
        refined = np.asarray(targets.refined_labels) > 0
        np.testing.assert_allclose(
            targets.offsets[refined], case.arrays[f"{sub_case}_prop_loc_t_selected"], atol=1e-5
        )

    def terms_of(values):
        return losses.detection_terms(config, outputs.replace(**values), targets, batch, 0.0)

    predictions = {key: getattr(outputs, key) for key in PREDICTIONS}
    np.testing.assert_allclose(
        values_of(terms_of(predictions)), case.arrays[f"{sub_case}_losses"], rtol=1e-4, atol=1e-5
    )
    gradients = jax.jit(jax.jacrev(lambda values: values_of(terms_of(values))))(predictions)
    for term, output, golden in GRADIENTS:
        ours = gradients[output][TERMS.index(term)]
        theirs = case.arrays.get(f"{sub_case}_{golden}", np.zeros(1)).reshape(-1)
        np.testing.assert_allclose(
            ours.reshape(-1), np.broadcast_to(theirs, ours.size), rtol=1e-3, atol=1e-6, err_msg=golden
        )


def test_activation_losses_and_gradients_are_the_published_ones():
    case = GoldenCase.load("afsd/losses")
    labels = jnp.asarray(case.input("activation_scores"))
    mask, names = jnp.ones(2), case.info["activation_grad_names"]
    features = {name: jnp.asarray(case.input(f"activation_{name}")) for name in names}

    def terms(features):
        values = []
        for name in names:
            wanted = labels[:, int(name.startswith("end"))][:, :: 4 if "_" in name else 1]
            values.append(losses.activation_term(features[name], wanted, mask) / wanted.size)
        return jnp.stack(values)

    np.testing.assert_array_equal(labels[..., ::4], case.arrays["activation_scores_quarter"])
    np.testing.assert_allclose(terms(features), case.arrays["activation_terms"], rtol=1e-4, atol=1e-5)
    gradients = jax.grad(lambda f: (terms(f) * jnp.array([1, 1, 0.1, 0.1, 0.1, 0.1])).sum())(features)
    for name, norm, projection in zip(
        names, case.arrays["activation_grad_norm"], case.arrays["activation_grad_projection"]
    ):
        gradient = np.asarray(gradients[name], np.float64)
        np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=1e-3)
        np.testing.assert_allclose(
            recipe.projection(name, gradient), projection, atol=0.01 * norm / np.sqrt(gradient.size)
        )


def test_all_terms_together_are_what_the_published_training_step_sees():
    case = GoldenCase.load("afsd/losses")
    config, window, cells = thumos_config()
    outputs, batch = golden_problem(case, "combined", window, cells)
    features = {
        name: jnp.asarray(case.input(f"activation_{name}")) for name in case.info["activation_grad_names"]
    }
    outputs = outputs.replace(
        frame_feature=jnp.concatenate([features["start"], features["end"]], -1),
        loc_sides=jnp.concatenate([features["start_loc_prop"], features["end_loc_prop"]], -1),
        cls_sides=jnp.concatenate([features["start_conf_prop"], features["end_conf_prop"]], -1),
    )
    batch["boundary_labels"] = jnp.asarray(case.input("activation_scores"))
    terms = losses.detection_terms(config, outputs, assign(config, outputs, batch), batch, 0.0)
    terms |= losses.activation_terms(outputs, batch)
    values = [terms[name].sum / jnp.maximum(terms[name].count, 1) for name in (*TERMS, "start", "end")]
    np.testing.assert_allclose(values, case.arrays["combined_terms"], rtol=1e-4, atol=1e-5)


def test_triplet_term_and_gradients_are_the_published_ones():
    case = GoldenCase.load("afsd/losses")
    roles = ("anchor", "positive", "negative")
    triples = [[jnp.asarray(case.input(f"trip_{role}_{i}")) for role in roles] for i in range(3)]
    parts = [losses.triplet_margin(*triple).mean() for triple in triples]
    np.testing.assert_allclose(parts, case.arrays["triplet_parts"], rtol=1e-4, atol=1e-5)

    def total(triples):
        return sum(w * losses.triplet_margin(*triple).mean() for w, triple in zip((1.0, 0.1, 0.1), triples))

    np.testing.assert_allclose(total(triples), case.arrays["triplet"], rtol=1e-4)
    for i, gradients in enumerate(jax.grad(total)(triples)):
        for role, gradient in zip(roles, gradients):
            np.testing.assert_allclose(gradient, case.arrays[f"d_triplet_d_{role}_{i}"], rtol=1e-3, atol=1e-6)


def test_the_shortest_truth_wins_and_the_first_on_ties():
    segments = jnp.array([[[0.0, 100.0], [20.0, 60.0], [20.0, 60.0], [0.0, 0.0]]])
    labels = jnp.array([[1, 2, 3, 0]])
    assigned, distances = assign_coarse(jnp.array([10.0, 40.0, 150.0]), segments, labels)
    np.testing.assert_array_equal(assigned, [[1, 2, 0]])
    np.testing.assert_array_equal(distances, [[[10, 90], [20, 20], [0, 0]]])


def test_a_location_beyond_its_level_bounds_is_background():
    segments, labels = jnp.array([[[0.0, 100.0]]]), jnp.array([[1]])
    assigned, _ = assign_coarse(
        jnp.array([50.0, 70.0, 99.0]), segments, labels, jnp.array([[0, 50], [0, 69], [98, 99]])
    )
    np.testing.assert_array_equal(assigned, [[1, 0, 1]])
