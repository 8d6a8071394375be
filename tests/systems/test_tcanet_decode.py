"""Post-processing of TCANet against the published one, and by hand; where its classes come from."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.features import build_dataset, data_config
from tal_jax.data.proposals import Proposals
from tal_jax.data.timeline import Timeline
from tal_jax.data.windows import Decoded
from tal_jax.errors import DataError
from tal_jax.systems import require_valid, tcanet
from tal_jax.systems.tcanet import examples
from tal_jax.systems.tcanet.config import tcanet_config
from tal_jax.systems.tcanet.decode import decode, detections, of_recording, suppress
from tal_jax.systems.tcanet.examples import training_examples
from tal_jax.systems.tcanet.model import Outputs
from tal_jax.systems.tcanet.tbr import Stage
from tests.golden import recipe
from tests.systems.tcanet_golden import load, random_variables, tolerance


def test_proposals_and_detections_are_the_published_ones():
    case = load("postprocess")
    config, close = tcanet_config(), tolerance(case, "values")
    duration = float(case.arrays["duration"])
    segments = case.arrays["boxes"] * duration
    scores = case.arrays["proposal_score"] * case.arrays["confidence2"]
    kept, kept_scores = suppress(config, segments, scores, duration)
    np.testing.assert_allclose(np.column_stack([kept, kept_scores]), case.arrays["proposals_out"], **close)
    logits = 2 * recipe.array("class_logits", [200])
    found, classes, found_scores = of_recording(config, segments, scores, duration, class_scores=logits)
    np.testing.assert_allclose(
        np.column_stack([classes, found, found_scores]), case.arrays["detections"], **close
    )
    single, single_score = suppress(config, np.array([[1.0, 5.0]]), np.array([0.6 * 0.7]), 10.0)
    np.testing.assert_allclose([*single[0], single_score[0]], case.arrays["single_out"], **close)


def test_suppression_by_hand():
    config = tcanet_config()
    segments = np.array([[0, 10], [5, 10], [20, 30], [40, 50.0], [60, 70]])
    scores = np.array([0.9, 0.8, 0.7, 0.6, 0.1])
    kept, decayed = suppress(config, segments, scores, 45.0)
    fallen = 0.8 * np.exp(-(0.5**2.5) / 0.4)
    np.testing.assert_allclose(decayed, [0.9, 0.7, 0.6, fallen])  # the last one is lost
    np.testing.assert_array_equal(kept, [[0, 10], [20, 30], [40, 45], [5, 10]])
    config.readings = ("decode.keep_last=True",)
    assert suppress(config, segments, scores, 45.0)[1][-1] == 0.1
    config.decode.keep = 2
    np.testing.assert_array_equal(suppress(config, segments, scores, 45.0)[1], [0.9, 0.7])


def test_at_most_101_picks_of_which_100_are_kept():
    config = tcanet_config()
    start = np.arange(150.0)
    scores = np.linspace(0.1, 0.9, 150)
    kept, decayed = suppress(config, np.column_stack([start, start + 0.5]), scores, 1000.0)
    np.testing.assert_array_equal(decayed, scores[::-1][:100])
    np.testing.assert_array_equal(kept[:, 0], start[::-1][:100])


def test_without_proposals_there_are_no_detections():
    for classes in ({"class_scores": np.zeros(5)}, {"labels": np.zeros(0, int)}):
        found = of_recording(tcanet_config(), np.zeros((0, 2)), np.zeros(0), 9.0, **classes)
        assert [array.shape for array in found] == [(0, 2), (0,), (0,)]


@pytest.mark.parametrize("classes", [{"class_scores": np.zeros(1)}, {"labels": np.zeros(3, int)}])
def test_a_proposal_of_score_0_is_the_last_one(classes):
    config = tcanet_config()
    config.readings = ("decode.keep_last=True",)
    segments, scores = np.array([[0, 1], [2, 3], [4, 5.0]]), np.array([0.0, 0.9, 0.8])
    found, _, found_scores = of_recording(config, segments, scores, 9.0, **classes)
    np.testing.assert_array_equal(found, segments[[1, 2, 0]])
    np.testing.assert_allclose(found_scores, [0.9, 0.8, 0.0])


def test_a_hard_decay_picks_every_proposal_once():
    config = tcanet_config()
    config.decode.nms_sigma, config.readings = 1e-9, ("decode.keep_last=True",)
    segments = np.array([[0, 10], [0, 9], [0, 8], [20, 30.0]])
    kept, scores = suppress(config, segments, np.array([0.9, 0.8, 0.7, 0.6]), 50.0)
    np.testing.assert_array_equal(kept, segments[[0, 3, 1, 2]])
    np.testing.assert_array_equal(scores, [0.9, 0.6, 0, 0])


def test_proposals_keep_their_labels():
    """Each class is suppressed by itself: the same segment of two classes stays as it is."""
    segments = np.array([[0, 10], [0, 10], [0, 10.0], [20, 30]])
    found, classes, scores = of_recording(
        tcanet_config(), segments, [0.5, 0.9, 0.4, 0.3], 25.0, labels=[7, 2, 7, 7]
    )
    np.testing.assert_array_equal(classes, [2, 7, 7])
    # the doubled one of class 7 fell below and was the last
    np.testing.assert_allclose(scores, [0.9, 0.5, 0.3])
    np.testing.assert_array_equal(found, [[0, 10], [0, 10], [20, 25]])


def test_classes_of_a_recording():
    """Three classes for each proposal, probabilities of doubled logits."""
    config = tcanet_config()
    config.decode.max_detections = 4
    logits = np.log([0.1, 0.4, 0.2, 0.3])
    found, classes, scores = of_recording(
        config, [[0, 1], [5, 6], [8, 9]], [0.5, 0.4, 0.1], 9.0, class_scores=logits
    )
    shares = np.array([0.16, 0.09, 0.04]) / 0.3
    np.testing.assert_allclose(
        scores, [0.5 * shares[0], 0.4 * shares[0], 0.5 * shares[1], 0.4 * shares[1]], rtol=1e-6
    )
    np.testing.assert_array_equal(classes, [1, 1, 3, 3])
    np.testing.assert_array_equal(found[:, 0], [0, 5, 0, 5])
    config.decode.class_sharpness = 0.0  # the scores are probabilities
    scores = of_recording(
        config, [[0, 1], [5, 6], [8, 9]], [0.5, 0.4, 0.1], 9.0, class_scores=[0.1, 0.4, 0.2, 0.3]
    )[2]
    np.testing.assert_allclose(scores, [0.5 * 0.4, 0.4 * 0.4, 0.5 * 0.3, 0.4 * 0.3])
    config.decode.class_sharpness = -1.0
    with pytest.raises(DataError, match="config.decode.class_sharpness is -1.0; it must be at least 0"):
        require_valid(config, training=False)


def window(start_sec, segments, confidence, **known):
    """Arrays of a window as `detections` gets them, with a row of padding."""
    count = len(segments)
    rows = {"segments_sec": np.array([*segments, [0, 0]], float), "confidence": np.array([*confidence, 0.7])}
    rows |= {"start_sec": start_sec, "proposal_scores": np.ones(count), "labels": np.zeros(count, int)}
    return rows | {"duration_sec": 50.0} | known


def test_the_windows_of_a_recording_come_together():
    config = tcanet_config()
    config.readings = ("decode.keep_last=True",)
    labelled = [
        window(0.0, [[1, 2], [4, 5]], [0.9, 0.3], labels=np.array([1, 0])),
        window(20.0, [[1, 2]], [0.5], labels=np.array([1])),
    ]
    segments, classes, scores = detections(config, [Decoded(0, 1, arrays) for arrays in labelled], None)
    np.testing.assert_array_equal(segments, [[1, 2], [21, 22], [4, 5]])
    np.testing.assert_array_equal(classes, [1, 1, 0])
    np.testing.assert_allclose(scores, [0.9, 0.5, 0.3])
    config.decode.update(class_sharpness=0.0, top_classes=1)
    shared = {"recording_scores": np.array([0.1, 0.2, 0.6])}
    segments, classes, scores = detections(
        config, [Decoded(0, 1, window(20.0 * i, [[1, 2]], [0.5 + 0.5 * i], **shared)) for i in range(2)], None
    )
    np.testing.assert_array_equal(segments, [[21, 22], [1, 2]])
    np.testing.assert_array_equal(classes, [2, 2])
    np.testing.assert_allclose(scores, [0.6, 0.3])


def dataset_of(labels, recording_scores=None):
    """20 s of noise to train on and as much to test on, each with two proposals of these labels."""
    recordings = {
        name: Recording(name, name, 20.0, np.array([[2.0, 6.0]]), np.zeros(1, np.int32), fps=1.0)
        for name in ("train", "test")
    }
    data = data_config()
    features = np.random.default_rng(0).standard_normal((20, 4))
    dataset = build_dataset(
        Annotations(("run", "jump"), recordings), lambda name: features, set(recordings), data, "here"
    )
    labels = None if labels is None else np.array(labels, np.int32)
    found = Proposals(np.array([[2.0, 5.0], [8.0, 9.0]]), np.array([0.9, 0.8]), labels)
    return dataclasses.replace(
        dataset, proposals=dict.fromkeys(recordings, found), recording_scores=recording_scores
    )


def known_of(config, dataset):
    """What is known of the one window of the test recording, once training has begun."""
    training_examples(config, dataset)
    (make,) = examples.test_windows(config, dataset, "test")
    return make().info


def test_where_classes_come_from():
    config = tcanet_config()
    config.data = data_config()
    config.window.snippets = 20
    scores = {"test": np.array([0.3, 0.7])}
    np.testing.assert_array_equal(
        known_of(config, dataset_of([1, 0], scores))["recording_scores"], [0.3, 0.7]
    )
    config.decode.classes = "proposals"
    np.testing.assert_array_equal(known_of(config, dataset_of([1, 0], scores))["labels"], [1, 0])
    config.data.class_agnostic = True
    for classes in ("recording", "proposals"):
        config.decode.classes = classes
        np.testing.assert_array_equal(known_of(config, dataset_of(None))["labels"], [0, 0])


@pytest.mark.parametrize(
    "classes, labels, scores, sentence",
    [
        (
            "recording",
            [0, 1],
            None,
            "set --config.evaluate.recording_scores=FILE .* or --config.decode.classes=proposals",
        ),
        (
            "recording",
            [0, 1],
            {"train": np.ones(2)},
            "recording_scores lacks 1 of 1 recordings; the first is 'test'",
        ),
        (
            "proposals",
            None,
            None,
            "2 of the 2 proposals of recording 'test' name no class of the annotations; set --config",
        ),
        (
            "proposals",
            [1, -1],
            None,
            "1 of the 2 proposals of recording 'test' name no class of the annotations; set --config",
        ),
    ],
)
def test_without_classes_training_does_not_begin(classes, labels, scores, sentence):
    config = tcanet_config()
    config.data = data_config()
    config.window.snippets = 20
    config.decode.classes = classes
    with pytest.raises(DataError, match=sentence):
        training_examples(config, dataset_of(labels, scores))
    with pytest.raises(DataError, match=sentence):
        list(examples.test_windows(config, dataset_of(labels, scores), "test"))


def test_negative_scores_and_labels_without_times_are_refused():
    config = tcanet_config()
    config.data, config.window.snippets, config.decode.classes = data_config(), 20, "proposals"
    dataset = dataset_of([0, 1])
    proposals = dataset.proposals["test"]
    logarithms = dataclasses.replace(proposals, scores=np.log(proposals.scores))
    for name in ("train", "test"):
        given = dataclasses.replace(dataset, proposals=dataset.proposals | {name: logarithms})
        with pytest.raises(
            DataError, match=f"of recording '{name}' have negative scores, the lowest -0.223144; tcanet needs"
        ):
            training_examples(config, given)
    with pytest.raises(DataError, match="Write their exponentials to the file"):
        list(examples.test_windows(config, given, "test"))
    dataset.annotations.recordings["train"].segments_sec[:] = np.nan
    with pytest.raises(DataError, match="'train' has a label without times .*; training tcanet needs times"):
        training_examples(config, dataset)


@pytest.mark.parametrize("snippets", [20, 10])
def test_proposals_beside_the_features_are_seen(snippets):
    """A feature sees 5 s and stands for its middle, so that 16 of them go from 2 s to 18 s of 20 s."""
    config, dataset = tcanet_config(), dataset_of([0, 1])
    config.data, config.decode.classes, config.readings = (
        data_config(),
        "proposals",
        ("decode.refined=False",),
    )
    config.window.update(snippets=snippets, train_stride_frames=6, test_stride_frames=6, proposals=4)
    segments_sec = np.array([[0.0, 0.25], [0.0, 1.5], [8.0, 9.0], [18.5, 20.0]])
    found = Proposals(segments_sec, np.ones(4), np.arange(4))
    dataset = dataclasses.replace(
        dataset,
        read=lambda name: np.zeros((16, 8), np.float32),
        timeline=lambda name: Timeline(1.0, 1.0, 5.0),
        proposals=dict.fromkeys(dataset.proposals, found),
    )
    items, make_example = training_examples(config, dataset)
    assert [offset for _, offset in items] == [0, 6][: 20 // snippets]
    trained = set()
    for item in items:
        inputs = make_example(item, None)["inputs"]
        present = inputs["proposal_mask"] > 0
        trained |= {tuple(row) for row in (inputs["proposals_sec"][present] + 2 + item[1]).tolist()}
    assert trained == {tuple(row) for row in segments_sec.tolist()}

    config.model.update(channels=8, groups=1, heads=2, local_heads=1, hidden=8, samples=(4, 8, 4), encoders=0)
    config.loss.iou_thresholds = (0.5, 0.6)
    module, seen = tcanet.build(config), []
    for make in examples.test_windows(config, dataset, "test"):
        window = make()
        batch = {name: array[None] for name, array in window.inputs.items()}
        arrays = decode(config, module.apply(random_variables(module, **batch), **batch))
        arrays = {name: array[0] for name, array in arrays.items()} | window.info
        seen.append(Decoded(window.offset, window.num_features, arrays))
    config.readings = ("decode.keep_last=True",)
    np.testing.assert_allclose(np.unique(detections(config, seen, None)[0], axis=0), segments_sec, atol=1e-5)


def test_the_confidence_is_that_of_the_asked_stage():
    def stage(i):
        two = jnp.full((1, 2, 2), float(i))
        return Stage(two, two, two, jnp.full((1, 2), 0.1 * i), two)

    outputs = Outputs(None, None, jnp.array([[True, False]]), tuple(stage(i) for i in (1, 2, 3)))
    config = tcanet_config()
    found = decode(config, outputs)
    np.testing.assert_array_equal(found["segments_sec"], 3.0)
    np.testing.assert_allclose(found["confidence"], [[0.2, 0.2]])
    config.decode.confidence_stage = 3
    np.testing.assert_allclose(decode(config, outputs)["confidence"], [[0.3, 0.3]])
    config.readings = ("decode.refined=False",)
    found = decode(config, outputs)
    np.testing.assert_array_equal(found["segments_sec"], 1.0)
    np.testing.assert_array_equal(found["confidence"], 1.0)


def test_without_a_duration_a_recording_is_as_long_as_its_features_see():
    """20 features, of 16 frames each, 4 apart, at 2 frames a second: 46 s. Proposals are cut there."""
    config = tcanet_config()
    config.data = data_config(fps=2.0, stride_frames=4, snippet_frames=16, class_agnostic=True)
    config.window.snippets = 20
    recordings = {"test": Recording("test", "test", None, np.zeros((0, 2)), np.zeros(0, np.int32))}
    dataset = build_dataset(
        Annotations(("run",), recordings), lambda name: np.ones((20, 4)), {"test"}, config.data, "here"
    )
    found = Proposals(np.array([[0.0, 23.0], [40.0, 99.0], [46.0, 99.0]]), np.ones(3))
    dataset = dataclasses.replace(dataset, proposals={"test": found})
    (make,) = examples.test_windows(config, dataset, "test")
    _, _, inputs, known = make()
    assert known["duration_sec"] == 46 and inputs["proposal_mask"].sum() == 2
    np.testing.assert_allclose(
        inputs["proposals_sec"][:2] + known["start_sec"], [[0, 23], [40, 46]], atol=1e-5
    )
