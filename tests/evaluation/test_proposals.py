"""Recall of proposals: cases worked by hand, and the comparison with a plain rendering of the ActivityNet
evaluator.
"""

import json
import lzma

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.proposals import Proposals, read_proposals
from tal_jax.errors import DataError
from tal_jax.evaluation.proposals import AR_TIOUS, evaluate_proposals
from tests.golden_case import GOLDEN

TAG = GOLDEN / "tag" / "thumos14_tag_pgcn.txt.xz"


def annotations_of(**truths):
    """Annotations from name=[(label, start_sec, end_sec)], 100 s each; "Ambiguous" is an ignored label."""
    recordings = {}
    for name, rows in truths.items():
        actions = np.array([row[1:] for row in rows if row[0] == "run"], np.float64).reshape(-1, 2)
        ignored = np.array([row[1:] for row in rows if row[0] == "Ambiguous"], np.float64).reshape(-1, 2)
        labels = np.zeros(len(actions), np.int32)
        recordings[name] = Recording(name, "test", 100.0, actions, labels, ignored_sec=ignored)
    return Annotations(("run",), recordings)


def proposals_of(**rows):
    """Proposals from name=[(start_sec, end_sec)], best first."""
    return {
        name: Proposals(np.array(found, np.float64).reshape(-1, 2), np.linspace(1, 0.5, len(found)))
        for name, found in rows.items()
    }


def score(truths, proposals, **arguments):
    return evaluate_proposals(truths, proposals, subset="test", **arguments)


def test_the_curve_and_its_area_by_hand():
    truths = annotations_of(a=[("run", 0, 10), ("run", 20, 30)])
    scores = score(truths, proposals_of(a=[(0, 10), (50, 60), (20, 30)]), most=3)
    # One recording, so AN is its number of proposals; of 0.03, 0.06, ... 3.00 the whole part counts: 0 up to
    # 0.99, 1 from 1.02,
    # 2 from 2.01, 3 at the end. The first finds half of the actions, the second nothing, the third the rest.
    curve = [0] * 33 + [50] * 66 + [100]
    assert list(scores["ar"].values()) == curve
    np.testing.assert_allclose([float(key) for key in scores["ar"]], np.arange(1, 101) * 0.03, rtol=1e-9)
    # Between 100 points lie 99 steps: (0 + 50) / 2, 65 of 50, (50 + 100) / 2, each 0.03 wide; the width is 3.
    assert scores["auc"] == pytest.approx(0.03 * (25 + 65 * 50 + 75) / 3)


def test_all_recordings_get_the_same_share_of_their_proposals():
    truths = annotations_of(a=[("run", 0, 10)], b=[("run", 0, 10)])
    proposals = proposals_of(a=[(50, 60), (70, 80), (0, 10)], b=[(0, 10)])
    scores = score(truths, proposals, most=2)
    # 2 on average are all 4. At 99 % of them 2 of the 3 in "a" and 0 of the 1 in "b" count, at 100 % all.
    assert list(scores["ar"].values()) == [0] * 99 + [100]
    assert scores["auc"] == pytest.approx(100 / 2 * 0.02 / 2)
    # 1 on average is half of each, rounded down: 1 in "a", which is then all that there is, and none in "b".
    assert set(score(truths, proposals, most=1)["ar"].values()) == {0}
    first = proposals_of(a=[(0, 10), (50, 60), (70, 80)], b=[(0, 10)])
    # 50 %: the 1 in "a", AN 0.5
    assert list(score(truths, first, most=1)["ar"].values()) == [0] * 49 + [50] * 51


def test_recall_is_averaged_over_tious_and_given_at_each():
    truths = annotations_of(a=[("run", 0, 10)], b=[("run", 0, 10)])
    scores = score(truths, proposals_of(a=[(0, 7.2)], b=[(0, 5)]))
    assert scores["ar"]["100"] == pytest.approx(100 * (5 + 1) / 20)  # 0.72: at 0.5 to 0.7; 0.5: at 0.5
    assert list(scores["recall"].values()) == [100, 100, 100, 100, 100, 50, 50, 0, 0]
    assert list(scores["recall"]) == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"]


def test_what_counts():
    truths = annotations_of(
        a=[("run", 0, 10), ("Ambiguous", 50, 60)], b=[("run", 0, 10)], c=[("Ambiguous", 0, 10)], d=[]
    )
    scores = score(truths, proposals_of(a=[(0, 10)], c=[(0, 10), (1, 2)], elsewhere=[(0, 10)]))
    assert scores["counts"] == {
        "recordings": 2, "recordings_without_proposals": 1, "recordings_left_out": 0, "ground_truths": 2, "proposals": 1,
        "proposals_on_recordings_without_ground_truth": 2,
    }  # fmt: skip
    assert scores["recall"]["0.9"] == 50  # Ambiguous is not asked for, "b" is
    json.dumps(scores, allow_nan=False)


def test_missing_recordings_are_missed_unless_they_are_left_out():
    truths = annotations_of(a=[("run", 0, 10)], b=[("run", 0, 10)], c=[("run", 0, 10)], d=[("run", 0, 10)])
    proposals = proposals_of(a=[(0, 10)], c=[])
    missed = score(truths, proposals, left_out=["d"])
    assert (
        missed["recall"]["0.9"] == pytest.approx(100 / 3)
        and missed["counts"]["recordings_without_proposals"] == 2
    )
    without = score(truths, proposals, left_out=["d"], missing="left out")
    assert without["recall"]["0.9"] == 50 and without["counts"]["recordings_without_proposals"] == 1
    assert (missed["counts"]["recordings_left_out"], without["counts"]["recordings_left_out"]) == (1, 2)
    with pytest.raises(DataError, match="left_out names 'z'"):
        score(truths, proposals, left_out=["z"])


@pytest.mark.parametrize(
    "proposals", [{}, proposals_of(a=[], b=[]), proposals_of(c=[(0, 10)] * 9), proposals_of(a=[(5, 5)])]
)
def test_without_a_proposal_that_counts_the_score_is_0(proposals):
    truths = annotations_of(a=[("run", 0, 10), ("run", 5, 5)], b=[("run", 0, 10)], c=[])
    scores = score(truths, proposals, most=1)
    assert (
        scores["auc"] == 0 and set(scores["ar"].values()) == {0.0} and set(scores["recall"].values()) == {0.0}
    )
    assert len(scores["ar"]) == 100
    json.dumps(scores, allow_nan=False)


def test_errors_are_sentences():
    with pytest.raises(DataError, match="'test' of the annotations has no ground truth"):
        score(annotations_of(a=[]), {})
    with pytest.raises(DataError, match="No recording has the subset"):
        evaluate_proposals(annotations_of(a=[]), {}, subset="validation")
    with pytest.raises(DataError, match="'a' has a label without times"):
        score(annotations_of(a=[("run", np.nan, np.nan)]), {})


def tiou(first, second):
    shared = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    return shared / (first[1] - first[0] + second[1] - second[0] - shared)


def plain_curve(truths, proposals, most):
    """AR of 100 steps and AUC, in percent, action by action, as ActivityNet's `eval_proposal.py` says it."""
    names = [name for name in truths if len(truths[name])]
    ratio = most * float(len(names)) / sum(len(found) for found in proposals.values())
    kept = {}
    for name in names:
        ranked = sorted(proposals.get(name, []), key=lambda row: -row[2])
        kept[name] = ranked[: min(int(len(ranked) * ratio), len(ranked))]
    total = sum(len(found) for found in kept.values())
    curve, numbers = [], []
    for step in range(1, 101):
        share = step / 100.0 * (most * float(len(names)) / total)
        recalls = []
        for threshold in AR_TIOUS:
            hits = 0
            for name in names:
                counted = kept[name][: int(len(kept[name]) * share)]
                hits += sum(
                    any(tiou(truth, found) >= threshold for found in counted) for truth in truths[name]
                )
            recalls.append(hits / sum(len(truths[name]) for name in names))
        curve.append(100 * sum(recalls) / len(recalls))
        numbers.append(share * total / len(names))
    area = sum((curve[i] + curve[i + 1]) / 2 * (numbers[i + 1] - numbers[i]) for i in range(99))
    return curve, area / numbers[-1]


@pytest.mark.parametrize("seed", range(6))
def test_equals_a_plain_evaluator_on_random_data(seed):
    rng = np.random.default_rng(seed)
    truths, found = {}, {}
    for name in "abcd":
        for table, most in ((truths, 3), (found, 12)):
            starts = rng.integers(0, 15, rng.integers(0, most + 1) + (name == "a"))
            table[name] = [(float(s), float(s + rng.integers(1, 9)), float(rng.random())) for s in starts]
    most = float(rng.integers(1, 12))
    annotations = annotations_of(
        **{name: [("run", *row[:2]) for row in rows] for name, rows in truths.items()}
    )
    proposals = {
        name: Proposals(np.array(rows).reshape(-1, 3)[:, :2], np.array(rows).reshape(-1, 3)[:, 2])
        for name, rows in found.items()
    }

    scores = score(annotations, proposals, most=most)

    curve, auc = plain_curve(truths, found, most)
    np.testing.assert_allclose(list(scores["ar"].values()), curve, rtol=0, atol=1e-9)
    assert scores["auc"] == pytest.approx(auc, abs=1e-9)


def test_recall_of_real_proposals():
    with lzma.open(TAG, "rt") as file:
        blocks = [block.splitlines() for block in file.read().split("# ")[1:]]
    truths, found, recordings = {}, {}, {}
    for rows in blocks:  # a second is a frame
        name, num_truths, frames = rows[1], int(rows[4]), float(rows[2])
        truths[name] = [tuple(map(float, row.split()[1:])) for row in rows[5 : 5 + num_truths]]
        found[name] = [tuple(map(float, row.split()[3:])) for row in rows[6 + num_truths :]]
        found[name] = [(start, min(end, frames), 1.0) for start, end in found[name]]
        recordings[name] = Recording(
            name, "test", frames, np.reshape(truths[name], (-1, 2)), np.zeros(num_truths, np.int32)
        )
    annotations = Annotations(("action",), recordings)
    proposals, _ = read_proposals(TAG, annotations)

    scores = score(annotations, proposals)

    assert scores["counts"] == {
        "recordings": 9, "recordings_without_proposals": 0, "recordings_left_out": 0, "ground_truths": 46, "proposals": 364,
        "proposals_on_recordings_without_ground_truth": 125,
    }  # fmt: skip
    for threshold in (0.1, 0.5, 0.9):
        hits = sum(
            any(tiou(truth, row) >= threshold for row in found[name])
            for name in truths
            for truth in truths[name]
        )
        assert scores["recall"][f"{threshold:g}"] == pytest.approx(100 * hits / 46)
    curve, auc = plain_curve(truths, found, 100)
    np.testing.assert_allclose(list(scores["ar"].values())[::9], curve[::9], rtol=0, atol=1e-9)
    assert scores["auc"] == pytest.approx(auc, abs=1e-9)
