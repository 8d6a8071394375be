"""Dynamic weights with curriculum learning: the equations by hand, and what each switch of the config does to
the losses.

The rows of the paper's ablation tables (Tables 1-3, 5, 6) are the switches tested here.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax import curriculum
from tal_jax.errors import DataError
from tal_jax.systems import require_valid
from tal_jax.systems.afsd.config import RECIPES, WEIGHTED, afsd_config
from tal_jax.systems.afsd.losses import detection_terms
from tal_jax.systems.afsd.model import Outputs
from tal_jax.systems.afsd.targets import Targets
from tests.tiny_config import switch


def logit(probability):
    return np.log(probability) - np.log1p(-np.asarray(probability))


def cross_entropy(probability, target):
    return -target * np.log(probability) - (1 - target) * np.log(1 - probability)


# ---------------------------------------------------------------------------------------------------- the
# equations


@pytest.mark.parametrize(
    "epoch, alpha", [(0, 1.0), (1, 0.8673), (2, 0.7639), (4, 0.6207), (8, 0.4812), (12, 0.4299), (16, 0.4110)]
)
def test_schedule_of_16_epochs(epoch, alpha):
    np.testing.assert_allclose(curriculum.classification_share(epoch, 16, 0.4), alpha, atol=5e-5)


@pytest.mark.parametrize("alpha_0", [0.2, 0.4, 0.6, 0.8])
def test_schedule_falls_from_1_to_alpha_0(alpha_0):
    alphas = np.array([curriculum.classification_share(epoch, 16, alpha_0) for epoch in range(0, 17, 2)])
    assert alphas[0] == 1
    assert (np.diff(alphas) < 0).all() and (alphas > alpha_0).all()
    np.testing.assert_allclose(curriculum.classification_share(1000, 16, alpha_0), alpha_0, rtol=1e-6)


def test_alpha_0_of_1_means_classification_alone():
    np.testing.assert_allclose(curriculum.classification_share(np.arange(17), 16, 1.0), 1.0)


def test_weight_by_hand():
    np.testing.assert_allclose(curriculum.sample_weight(0.6, 0.9, 0.25), 0.675)
    np.testing.assert_allclose(curriculum.sample_weight(0.6, 0.9, 1.0), 0.9)
    np.testing.assert_allclose(curriculum.sample_weight(0.6, 0.9, 0.0), 0.6)


def test_weights_of_scores_in_0_1_are_between_the_scores():
    loc_score, cls_score, alpha = np.random.default_rng(0).uniform(size=(3, 1000))
    weights = curriculum.sample_weight(loc_score, cls_score, alpha)
    assert (weights >= np.minimum(loc_score, cls_score) - 1e-12).all()
    assert (weights <= np.maximum(loc_score, cls_score) + 1e-12).all()


def test_weighted_losses_by_hand():
    losses, weights = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 0.9, 0.0])
    positive = jnp.array([True, False, True])
    np.testing.assert_allclose(curriculum.weighted_classification(losses, positive, weights), [0.5, 2.0, 0.0])
    np.testing.assert_allclose(curriculum.weighted_localisation(losses, weights), [0.5, 1.8, 0.0])


def test_weights_of_1_leave_the_losses():
    losses, ones = jnp.array([1.0, 2.0, 3.0]), jnp.ones(3)
    np.testing.assert_array_equal(
        curriculum.weighted_classification(losses, jnp.array([True, False, True]), ones), losses
    )
    np.testing.assert_array_equal(curriculum.weighted_localisation(losses, ones), losses)


@pytest.mark.parametrize(
    "score, weight, positive, loss",
    [(0.3, 0.8, True, 0.517257), (0.8, 0.3, True, 0.596775), (0.2, 0.5, False, 0.044629)],
)
def test_auxiliary_loss(score, weight, positive, loss):
    np.testing.assert_allclose(curriculum.auxiliary_loss(logit(score), weight, positive), loss, atol=5e-7)


def test_auxiliary_loss_is_0_where_the_score_is_the_weight():
    scores = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(curriculum.auxiliary_loss(logit(scores), scores, True), 0.0, atol=1e-6)


def test_auxiliary_loss_of_extreme_logits_is_finite():
    logits = jnp.array([-200.0, 200.0])
    for positive in (True, False):
        value, gradient = jax.value_and_grad(
            lambda c, good=positive: curriculum.auxiliary_loss(c, 0.5, good).sum()
        )(logits)
        assert np.isfinite(value) and np.isfinite(gradient).all()


def test_both_factors_of_the_auxiliary_loss_pass_gradient_to_the_score():
    # d/dc of (w - c) * BCE(c, w) for c < w, times dc/dlogit = c (1 - c); dBCE/dlogit = c - w.
    score, weight = 0.3, 0.8
    gradient = jax.grad(lambda c: curriculum.auxiliary_loss(c, weight, True))(logit(score))
    expected = -score * (1 - score) * cross_entropy(score, weight) + (weight - score) * (score - weight)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


# ------------------------------------------------------------------------------------- the switches, on four
# locations
#
# Location 0 is positive in both stages, 1 in the coarse stage alone, 2 is background, 3 is padding. Two
# classes.

COARSE_LABELS, REFINED_LABELS = [1, 2, 0, 0], [1, 0, 0, 0]
COARSE_PROBABILITY = np.array([[0.2, 0.5, 0.3], [0.3, 0.3, 0.4], [0.6, 0.3, 0.1], [0.1, 0.1, 0.8]])
REFINED_PROBABILITY = np.array([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
QUALITY = np.array([0.6, 0.3, 0.5, 0.9])
AUXILIARY = np.array([0.7, 0.2, 0.1, 0.9])
ACTION = 1 - REFINED_PROBABILITY[:, 0]
# Of locations 0 and 1: scores s and p of each stage. Truths (4, 4) and (6, 2), coarse (4, 2) and (1.6, 0.4),
# refined (4, 3)
# and (2.6, 0.4).
COARSE_S, COARSE_P = np.array([0.75, 0.25]), np.array([0.5, 0.4])
REFINED_S, REFINED_P = np.array([0.875, 0.375]), np.array([0.8, 0.6])
MEAN_P = 0.5 * (COARSE_P + REFINED_P)
PLAIN_TERMS = ("loc", "cls", "refined_loc", "refined_cls", "quality")
ONES = np.ones(2)
SWITCHES_OFF = dict(weights=False, schedule=False, auxiliary="none")


def problem(auxiliary_branch=True):
    """Outputs, targets and batch of the four locations."""
    outputs = Outputs(
        anchors=jnp.arange(4.0),
        coarse_distances=jnp.array([[[4.0, 2.0], [1.6, 0.4], [1.0, 1.0], [1.0, 1.0]]]),
        coarse_logits=jnp.log(COARSE_PROBABILITY)[None],
        refined_offsets=jnp.array([[[0.0, 1 / 3], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]]),
        refined_logits=jnp.log(REFINED_PROBABILITY)[None],
        quality_logits=jnp.asarray(logit(QUALITY))[None],
        auxiliary_logits=jnp.asarray(logit(AUXILIARY))[None] if auxiliary_branch else None,
        frame_feature=None, loc_sides=None, cls_sides=None, level_regions=None, frame_regions=None, pyramid=(),
    )  # fmt: skip
    targets = Targets(
        coarse_labels=jnp.array([COARSE_LABELS]),
        distances=jnp.array([[[4.0, 4.0], [6.0, 2.0], [0.0, 0.0], [0.0, 0.0]]]),
        refined_labels=jnp.array([REFINED_LABELS]),
        offsets=jnp.array([[[0.0, 2 / 3], [4.4, 1.6], [-1.0, -1.0], [-1.0, -1.0]]]),
        valid=jnp.array([[True, True, True, False]]),
    )
    return outputs, targets, dict(sample_mask=jnp.ones(1))


def terms_of(config, epoch=4, outputs=None):
    """name -> value of each term, the weight of the term left out."""
    given, targets, batch = problem()
    terms = detection_terms(config, outputs or given, targets, batch, epoch)
    return {name: term.sum / jnp.maximum(term.count, 1) for name, term in terms.items()}


def dw_afsd(**switches):
    config = afsd_config("dw_afsd")
    config.train.epochs = 16
    switch("curriculum", config, **switches)
    return config


def expected_terms(coarse_weights=ONES, refined_weights=ONES, focal_alpha=0.25, focal_gamma=2.0):
    """The five terms of the four locations by hand, for given weights of the two positives of the coarse
    stage.
    """

    def focal(probability, labels):
        q = probability[np.arange(3), labels[:3]]
        return (
            -np.where(np.array(labels[:3]) == 0, focal_alpha, 1 - focal_alpha)
            * (1 - q) ** focal_gamma
            * np.log(q)
        )

    return dict(
        loc=(coarse_weights * (1 - COARSE_S)).sum() / 2,
        cls=(np.append(coarse_weights, 1) * focal(COARSE_PROBABILITY, COARSE_LABELS)).sum() / 2,
        refined_loc=refined_weights[0] / 3,
        refined_cls=([refined_weights[0], 1, 1] * focal(REFINED_PROBABILITY, REFINED_LABELS)).sum(),
        quality=cross_entropy(QUALITY[:2], REFINED_S).sum() / 2,
    )


def expected_auxiliary(score, weights, positives):
    """Eq. 10 by hand; `weights` of the first locations, which are the positives."""
    at_positive = np.abs(score[:positives] - weights[:positives]) * cross_entropy(
        score[:positives], weights[:positives]
    )
    at_negative = score[positives:3] * cross_entropy(score[positives:3], 0)
    return (at_positive.sum() + at_negative.sum()) / positives


def assert_terms(terms, expected):
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-4, err_msg=name)


def mix(loc_score, cls_score, alpha):
    return (1 - alpha) * loc_score + alpha * cls_score


def test_overlap_power_weights_the_classification_of_positives_by_their_tiou():
    config = dw_afsd(**SWITCHES_OFF)
    config.loss.overlap_power = 2.0
    weighted = expected_terms(COARSE_S**2, REFINED_S**2)
    expected = expected_terms() | {name: weighted[name] for name in ("cls", "refined_cls")}
    assert_terms(terms_of(config), expected)


def test_static_and_dynamic_weights_exclude_each_other():
    config = dw_afsd()
    config.loss.overlap_power = 0.2
    with pytest.raises(DataError, match="overlap_power is 0.2, beside dynamic weights; set it to 0"):
        require_valid(config, training=True)


def test_all_switches_off_is_plain_afsd():
    assert_terms(terms_of(dw_afsd(**SWITCHES_OFF)), expected_terms())
    plain, _, _ = problem(auxiliary_branch=False)
    for name, value in terms_of(afsd_config("afsd"), outputs=plain).items():
        np.testing.assert_array_equal(terms_of(dw_afsd(**SWITCHES_OFF))[name], value)


@pytest.mark.parametrize(
    "unused",
    [
        dict(alpha_0=0.9), dict(first_epoch=1), dict(weighted="loc"),
        dict(detach_weights=False), dict(stage_weights="shared"), dict(auxiliary_normaliser="all"),
    ],
)  # fmt: skip
def test_all_switches_off_the_other_fields_do_nothing(unused):
    assert_terms(terms_of(dw_afsd(**SWITCHES_OFF, **unused)), expected_terms())


@pytest.mark.parametrize(
    "row, weights, schedule, auxiliary",
    [
        ("base", False, False, "none"),
        ("dynamic weights", True, False, "none"),
        ("dynamic weights, auxiliary", True, False, "branch"),
        ("dynamic weights, curriculum", True, True, "none"),
        ("all", True, True, "branch"),
        ("auxiliary alone", False, False, "branch"),
    ],
)
def test_steps_of_table_5(row, weights, schedule, auxiliary):
    alpha = 0.4 + 0.6 * np.exp(-1) if schedule else 0.5  # epoch 4 of 16: t / sqrt(T) = 1
    expected = expected_terms()
    if weights:
        expected = expected_terms(mix(COARSE_S, COARSE_P, alpha), mix(REFINED_S, REFINED_P, alpha))
    if auxiliary == "branch":
        expected["auxiliary"] = expected_auxiliary(AUXILIARY, mix(REFINED_S, MEAN_P, alpha), positives=1)
    assert_terms(terms_of(dw_afsd(weights=weights, schedule=schedule, auxiliary=auxiliary)), expected)


@pytest.mark.parametrize("alpha_0", [0.2, 0.4, 0.6, 0.8, 1.0])
@pytest.mark.parametrize("epoch", [0, 4])
def test_alpha_0_of_table_1(alpha_0, epoch):
    alpha = alpha_0 + (1 - alpha_0) * np.exp(-epoch / 4)
    expected = expected_terms(mix(COARSE_S, COARSE_P, alpha), mix(REFINED_S, REFINED_P, alpha))
    expected["auxiliary"] = expected_auxiliary(AUXILIARY, mix(REFINED_S, MEAN_P, alpha), positives=1)
    assert_terms(terms_of(dw_afsd(alpha_0=alpha_0), epoch), expected)


@pytest.mark.parametrize(
    "focal", [dict(focal_gamma=0.0), dict(focal_gamma=1.0), dict(focal_alpha=0.5), dict(focal_alpha=0.75)]
)
def test_focal_settings_of_tables_2_and_3(focal):
    config = dw_afsd(**SWITCHES_OFF)
    config.loss.update(focal)
    assert_terms(terms_of(config), expected_terms(**focal))


@pytest.mark.parametrize("constant_alpha", [0.0, 0.3, 1.0])
def test_without_schedule_alpha_is_constant(constant_alpha, monkeypatch):
    monkeypatch.setattr(curriculum, "CONSTANT_ALPHA", constant_alpha)
    config = dw_afsd(schedule=False, auxiliary="none")
    expected = expected_terms(
        mix(COARSE_S, COARSE_P, constant_alpha), mix(REFINED_S, REFINED_P, constant_alpha)
    )
    for epoch in (0, 16):
        assert_terms(terms_of(config, epoch), expected)


LOSSES = [(), ("loc", "cls"), ("refined_loc", "refined_cls"), ("loc", "cls", "refined_cls"), WEIGHTED]


@pytest.mark.parametrize("names", LOSSES)
def test_weighted_losses(names):
    all_weighted = expected_terms(mix(COARSE_S, COARSE_P, 0.5), mix(REFINED_S, REFINED_P, 0.5))
    expected = expected_terms() | {name: all_weighted[name] for name in names}
    assert_terms(terms_of(dw_afsd(schedule=False, auxiliary="none", weighted="+".join(names))), expected)


@pytest.mark.parametrize("names", LOSSES)
def test_the_auxiliary_target_does_not_depend_on_the_weighted_losses(names):
    expected = expected_auxiliary(AUXILIARY, mix(REFINED_S, MEAN_P, 0.5), positives=1)
    terms = terms_of(dw_afsd(schedule=False, weighted="+".join(names)))
    np.testing.assert_allclose(terms["auxiliary"], expected, rtol=1e-4)


def test_one_weight_for_both_stages_and_the_auxiliary_target():
    shared = mix(REFINED_S, MEAN_P, 0.5)
    expected = expected_terms(shared, shared)
    expected["auxiliary"] = expected_auxiliary(AUXILIARY, shared, positives=1)
    assert_terms(terms_of(dw_afsd(schedule=False, stage_weights="shared")), expected)


@pytest.mark.parametrize("epoch, alpha", [(0, 0.8673), (3, 0.6207), (15, 0.4110)])
def test_epochs_counted_from_1(epoch, alpha):
    expected = expected_terms(mix(COARSE_S, COARSE_P, alpha), mix(REFINED_S, REFINED_P, alpha))
    assert_terms(terms_of(dw_afsd(first_epoch=1, auxiliary="none"), epoch), expected)
    assert_terms(terms_of(dw_afsd(auxiliary="none"), epoch + 1), expected)


def test_a_recipe_may_count_epochs_from_1(monkeypatch):
    expected = terms_of(dw_afsd(first_epoch=1, auxiliary="none"), 3)
    config = dw_afsd(auxiliary="none")
    monkeypatch.setitem(RECIPES[config.recipe], "first_epoch", 1)
    assert_terms(terms_of(config, 3), expected)


@pytest.mark.parametrize("positives, count", [("refined", 1), ("coarse", 2)])
def test_the_auxiliary_loss_divided_by_all_locations(positives, count):
    """Three of the four locations are valid."""
    by_positives = expected_auxiliary(AUXILIARY, mix(REFINED_S, MEAN_P, 0.5), count)
    terms = terms_of(dw_afsd(schedule=False, auxiliary_positives=positives, auxiliary_normaliser="all"))
    np.testing.assert_allclose(terms["auxiliary"], by_positives * count / 3, rtol=1e-4)


def test_the_auxiliary_loss_divided_by_all_locations_of_each_recording():
    config, (outputs, targets, batch) = dw_afsd(schedule=False, auxiliary_normaliser="all"), problem()
    config.readings += ("per_recording=True",)
    term = detection_terms(config, outputs, targets, batch, 0)["auxiliary"]
    by_positives = expected_auxiliary(AUXILIARY, mix(REFINED_S, MEAN_P, 0.5), 1)
    np.testing.assert_allclose([term.sum, term.count], [by_positives / 3, 1], rtol=1e-4)


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("alpha_0", 1.5, "config.curriculum.alpha_0 is 1.5; it must be from 0 to 1."),
        ("alpha_0", -0.5, "config.curriculum.alpha_0 is -0.5; it must be from 0 to 1."),
        (
            "first_epoch",
            2,
            "config.readings has 'first_epoch=2'; it may have first_epoch=0 or first_epoch=1.",
        ),
        (
            "weighted",
            "quality",
            "config.readings has 'weighted=quality'; it may have weighted=loc.cls.refined_loc",
        ),
    ],
)
def test_a_bad_field_is_named(field, value, sentence):
    with pytest.raises(DataError, match=sentence):
        require_valid(dw_afsd(**{field: value}), training=True)


@pytest.mark.parametrize("loc_score", ["tiou", "quality"])
def test_localisation_score(loc_score):
    coarse_s, refined_s = (COARSE_S, REFINED_S) if loc_score == "tiou" else (QUALITY[:2], QUALITY[:2])
    expected = expected_terms(mix(coarse_s, COARSE_P, 0.5), mix(refined_s, REFINED_P, 0.5))
    expected["auxiliary"] = expected_auxiliary(AUXILIARY, mix(refined_s, MEAN_P, 0.5), positives=1)
    assert_terms(terms_of(dw_afsd(schedule=False, loc_score=loc_score)), expected)


def test_a_prediction_that_misses_its_anchor_has_no_negative_weight(monkeypatch):
    monkeypatch.setattr(curriculum, "CONSTANT_ALPHA", 0.0)
    outputs, _, _ = problem()
    outside = outputs.replace(refined_offsets=outputs.refined_offsets.at[0, 0].set(jnp.array([-3.0, -3.0])))
    terms = terms_of(dw_afsd(schedule=False, auxiliary="none"), outputs=outside)
    assert terms["refined_loc"] == 0


@pytest.mark.parametrize("positives", ["refined", "coarse"])
@pytest.mark.parametrize("auxiliary, score", [("branch", AUXILIARY), ("classification", ACTION)])
def test_auxiliary_loss_of_table_6_and_its_positives(auxiliary, score, positives):
    config = dw_afsd(**SWITCHES_OFF | dict(auxiliary=auxiliary, auxiliary_positives=positives))
    outputs, _, _ = problem(auxiliary_branch=auxiliary == "branch")
    weights, count = mix(REFINED_S, MEAN_P, 0.5), 1 if positives == "refined" else 2
    expected = expected_terms() | dict(auxiliary=expected_auxiliary(score, weights, count))
    assert_terms(terms_of(config, outputs=outputs), expected)


def test_the_auxiliary_term_has_weight_1():
    outputs, targets, batch = problem()
    terms = detection_terms(dw_afsd(), outputs, targets, batch, 4)
    assert {name: term.weight for name, term in terms.items()} == {
        **{name: 1.0 for name in ("cls", "refined_cls", "quality", "auxiliary")},
        **{name: 10.0 for name in ("loc", "refined_loc")},
    }


PREDICTIONS = (
    "coarse_distances",
    "coarse_logits",
    "refined_offsets",
    "refined_logits",
    "quality_logits",
    "auxiliary_logits",
)


def gradients_of(config):
    """term -> prediction -> gradient of the term, for location 0."""
    outputs, _, _ = problem()
    values = {name: getattr(outputs, name) for name in PREDICTIONS}
    gradients = jax.jit(jax.jacrev(lambda values: terms_of(config, outputs=outputs.replace(**values))))(
        values
    )
    return jax.tree.map(lambda g: np.asarray(g)[0, 0], gradients)


def reached(gradients):
    """(term, prediction) pairs with a gradient at location 0."""
    return {
        (term, name)
        for term, row in gradients.items()
        for name, gradient in row.items()
        if np.abs(gradient).max() > 0
    }


OWN = {  # what each term of plain AFSD is a function of
    ("loc", "coarse_distances"), ("cls", "coarse_logits"), ("refined_loc", "refined_offsets"), ("refined_cls", "refined_logits"),
    ("quality", "coarse_distances"), ("quality", "refined_offsets"), ("quality", "quality_logits"),
}  # fmt: skip


@pytest.mark.parametrize("loc_score", ["tiou", "quality"])
def test_detached_weights_pass_no_gradient(loc_score):
    gradients = gradients_of(dw_afsd(detach_weights=True, schedule=False, loc_score=loc_score))
    assert reached(gradients) == OWN | {("auxiliary", "auxiliary_logits")}
    plain = gradients_of(dw_afsd(**SWITCHES_OFF))
    assert reached(plain) == OWN
    coarse_s, refined_s = (COARSE_S, REFINED_S) if loc_score == "tiou" else (QUALITY[:2], QUALITY[:2])
    coarse_w, refined_w = mix(coarse_s, COARSE_P, 0.5)[0], mix(refined_s, REFINED_P, 0.5)[0]
    weights = dict(loc=coarse_w, cls=coarse_w, refined_loc=refined_w, refined_cls=refined_w, quality=1.0)
    for term, name in OWN:
        np.testing.assert_allclose(
            gradients[term][name], weights[term] * plain[term][name], rtol=1e-4, atol=1e-7
        )


def test_weights_that_are_not_detached_pass_gradient_to_both_scores():
    through_coarse = {
        (term, name) for term in ("loc", "cls") for name in ("coarse_distances", "coarse_logits")
    }
    refined_inputs = ("coarse_distances", "refined_offsets", "refined_logits")
    through_refined = {(term, name) for term in ("refined_loc", "refined_cls") for name in refined_inputs}
    through_target = {("auxiliary", name) for name in PREDICTIONS if name != "quality_logits"}
    found = reached(gradients_of(dw_afsd(detach_weights=False, schedule=False)))
    assert found == OWN | through_coarse | through_refined | through_target


def test_auxiliary_loss_on_the_classification_teaches_the_refined_classes_alone():
    found = reached(gradients_of(dw_afsd(auxiliary="classification")))
    assert found == OWN | {("auxiliary", "refined_logits")}
