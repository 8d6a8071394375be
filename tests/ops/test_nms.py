import jax
import numpy as np
import pytest

from benchmarks import soft_nms as problems
from tal_jax.ops.nms import final_soft_nms, hard_nms, rows_of_each, soft_nms, vote
from tal_jax.ops.segments import tiou
from tests.golden_case import GoldenCase

GOLDEN = GoldenCase.load("afsd/soft_nms")
HARD_GOLDEN = GoldenCase.load("ecm/nms")
# of two equally long segments that share half their length
HALF_OVERLAP_DECAY = np.exp(-((1 / 3) ** 2) / 0.5)


def assert_same_as_loop(segments, scores, **options):
    """The same segments are picked as one pick at a time would, with the same scores."""
    got = np.asarray(soft_nms(segments, scores, **options))
    expected = problems.published_loop(segments, scores, **options)
    np.testing.assert_array_equal(got > 0, expected > 0)
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def golden_problem(case, options):
    """Segments (2000, 2) and scores (2000,) padded with absent candidates, how many are real, and the
    options.
    """
    rows = GOLDEN.input(f"{case}_segments")
    padded = np.pad(rows, ((0, 2000 - len(rows)), (0, 0)))
    parameters = {
        "sigma": options["sigma"],
        "score_floor": options["score_threshold"],
        "top_k": options["top_k"],
    }
    return padded[:, :2], padded[:, 2], len(rows), parameters


@pytest.mark.parametrize("case, options", GOLDEN.info["hyper"]["sub_cases"].items())
def test_golden(case, options):
    segments, scores, count, parameters = golden_problem(case, options)
    scores = np.asarray(soft_nms(segments, scores, **parameters, keep_last=False))
    assert not scores[count:].any()
    picked, expected = scores > 0, GOLDEN.arrays[f"{case}_output"]
    assert picked.sum() == options["count"] == len(expected)
    tolerances = GOLDEN.info["tolerances"]
    np.testing.assert_allclose(segments[picked], expected[:, :2], **tolerances["segments"])
    np.testing.assert_allclose(scores[picked], expected[:, 2], **tolerances["scores"])


@pytest.mark.parametrize("case, options", GOLDEN.info["hyper"]["sub_cases"].items())
def test_golden_inputs_with_the_last_one_kept(case, options):
    segments, scores, _, parameters = golden_problem(case, options)
    assert_same_as_loop(segments, scores, **parameters, keep_last=True)


def test_by_hand():
    segments = np.array([[5.0, 7.0], [1.0, 3.0], [0.0, 2.0], [20.0, 21.0]])
    scores = np.array([0.5, 0.8, 0.9, 0.0])
    kept = [0.5, 0.8 * HALF_OVERLAP_DECAY, 0.9, 0]  # picked in the order 2, 1, 0
    np.testing.assert_allclose(soft_nms(segments, scores), kept, rtol=1e-6)
    np.testing.assert_allclose(soft_nms(segments, scores, keep_last=False), [0, *kept[1:]], rtol=1e-6)
    np.testing.assert_allclose(soft_nms(segments, scores, top_k=2), [0, *kept[1:]], rtol=1e-6)
    np.testing.assert_allclose(soft_nms(segments, scores, top_k=1), [0, 0, 0.9, 0], rtol=1e-6)
    np.testing.assert_allclose(
        soft_nms(segments, scores, top_k=1, keep_last=False), [0, 0, 0.9, 0], rtol=1e-6
    )
    # With a floor of 0.65 the decayed 0.64 is dropped, which leaves nothing besides the first pick.
    np.testing.assert_allclose(soft_nms(segments, scores, score_floor=0.65), [0, 0, 0.9, 0], rtol=1e-6)
    # Others still wait when segment 2 is picked, so it is not a lone candidate, although it leaves none
    # behind.
    np.testing.assert_allclose(
        soft_nms(segments, scores, score_floor=0.65, keep_last=False), [0, 0, 0.9, 0], rtol=1e-6
    )


def test_a_lone_candidate_is_kept_or_not():
    segments = np.array([[0.0, 1.0]])
    np.testing.assert_allclose(soft_nms(segments, np.array([0.4])), [0.4])
    np.testing.assert_array_equal(soft_nms(segments, np.array([0.4]), keep_last=False), [0])
    np.testing.assert_array_equal(soft_nms(segments, np.array([0.0])), [0])
    assert soft_nms(np.zeros((0, 2)), np.zeros(0)).shape == (0,)


def test_the_best_candidate_is_kept_below_the_floor_if_asked_for():
    segments, scores = np.array([[0.0, 1.0], [5.0, 6.0], [8.0, 9.0]]), np.array([0.2, 0.4, np.nan])
    np.testing.assert_allclose(soft_nms(segments, scores, score_floor=0.5), [0, 0, 0])
    np.testing.assert_allclose(soft_nms(segments, scores, score_floor=0.5, keep_best=True), [0, 0.4, 0])
    np.testing.assert_allclose(soft_nms(segments, scores, score_floor=0.3, keep_best=True), [0, 0.4, 0])
    np.testing.assert_array_equal(soft_nms(segments, np.zeros(3), score_floor=0.5, keep_best=True), [0, 0, 0])


def test_of_equal_scores_the_first_is_picked_first():
    segments = np.array([[0.0, 2.0], [1.0, 3.0]])
    expected = np.array([0.6, 0.6 * HALF_OVERLAP_DECAY])
    for order in ([0, 1], [1, 0]):
        np.testing.assert_allclose(soft_nms(segments[order], np.full(2, 0.6)), expected, rtol=1e-6)


@pytest.mark.parametrize("keep_last", [True, False])
@pytest.mark.parametrize("top_k", [7, 5000])
@pytest.mark.parametrize("make", [problems.scattered, problems.clustered])
@pytest.mark.parametrize("seed", [0, 1])
def test_same_as_one_pick_at_a_time(make, seed, top_k, keep_last):
    for segments, scores in zip(*make(2, 90, seed)):
        assert_same_as_loop(segments, scores, top_k=top_k, keep_last=keep_last)


def test_an_open_candidate_waits_and_what_it_may_change_waits_with_it():
    """Of [0, 2] and [1, 3], which overlap, and [3, 5], which touches: the last candidate is open."""
    segments = np.array([[0.0, 2.0], [1.0, 3.0], [3.0, 5.0], [4.0, 6.0]])
    is_open = np.array([False, False, False, True])
    decay, last_decay = HALF_OVERLAP_DECAY, HALF_OVERLAP_DECAY
    picked, waiting = final_soft_nms(
        segments, np.array([0.9, 0.8, 0.7, 0.6]), is_open
    )  # the open one is worst
    np.testing.assert_allclose(picked, [0.9, 0.8 * decay, 0.7, 0], rtol=1e-6)
    np.testing.assert_allclose(waiting, [0, 0, 0, 0.6 * last_decay], rtol=1e-6)
    picked, waiting = final_soft_nms(
        segments, np.array([0.9, 0.8, 0.5, 0.6]), is_open
    )  # better than the third
    np.testing.assert_allclose(picked, [0.9, 0.8 * decay, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(waiting, [0, 0, 0.5, 0.6], rtol=1e-6)  # not decayed by what may be decayed
    chain = np.array([[0.0, 2.0], [1.0, 3.0], [2.0, 4.0], [3.0, 6.0]])  # each overlaps the next
    for scores, finals in (([0.6, 0.7, 0.8, 0.9], 0), ([0.6, 0.8, 0.7, 0.9], 2), ([0.9, 0.8, 0.7, 0.6], 3)):
        picked, waiting = final_soft_nms(chain, np.array(scores), is_open)
        np.testing.assert_array_equal(np.asarray(picked) > 0, np.arange(4) < finals)
        np.testing.assert_array_equal(np.asarray(waiting) > 0, np.arange(4) >= finals)


def test_what_falls_below_the_floor_does_not_wait():
    segments, scores = np.array([[0.0, 2.0], [1.0, 3.0]]), np.array([0.9, 0.7])
    picked, waiting = final_soft_nms(segments, scores, np.array([False, True]), score_floor=0.65)
    np.testing.assert_allclose(picked, [0.9, 0], rtol=1e-6)
    np.testing.assert_array_equal(waiting, [0, 0])


@pytest.mark.parametrize("make", [problems.scattered, problems.clustered])
@pytest.mark.parametrize("seed", range(3))
def test_final_picks_are_those_of_all_candidates(make, seed):
    """Candidates come in order of their start, some at a time; each pick is made once, and as among all."""
    (segments,), (scores,) = make(1, 120, seed)
    order = np.argsort(segments[:, 0])
    segments, scores = segments[order].astype(np.float32), scores[order]
    expected, found = np.asarray(soft_nms(segments, scores)), np.zeros(len(scores), np.float32)
    now, early = np.zeros(len(scores), np.float32), []
    for begin in range(0, 120, 20):
        now[begin : begin + 20] = scores[begin : begin + 20]  # what has not come is absent
        horizon = segments[begin + 20, 0] if begin < 100 else np.inf
        picked, now = map(np.array, final_soft_nms(segments, now, segments[:, 1] > horizon))
        assert not found[picked > 0].any()
        found += picked
        early.append((picked > 0).sum())
    np.testing.assert_array_equal(found > 0, expected > 0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert sum(early[:-1]) > 0 and not now.any()


@pytest.mark.parametrize("options", [{}, {"keep_last": False}, {"keep_best": True, "score_floor": 2.0}])
def test_with_nothing_open_all_is_final(options):
    segments, scores = problems.clustered(2, 90, 0)
    picked, waiting = final_soft_nms(segments, scores, np.zeros(scores.shape, bool), **options)
    np.testing.assert_array_equal(picked, soft_nms(segments, scores, **options))
    assert not np.asarray(waiting).any()


def test_staircase_of_dependent_picks():
    (segments,), (scores,) = problems.staircase(1, 100)
    for keep_last in (True, False):
        assert_same_as_loop(segments, scores, keep_last=keep_last)


@pytest.mark.parametrize("keep_last", [True, False])
def test_few_crowded_candidates_and_a_high_floor(keep_last):
    """Often the last pick here drops the last others, or comes after they were dropped."""
    rng = np.random.default_rng(6)
    for _ in range(150):
        start = rng.integers(0, 8, 6)
        segments = np.stack([start, start + rng.integers(0, 5, 6)], -1).astype(np.float32)
        scores = rng.choice([0.3, 0.5, 0.7, 0.9], 6)
        assert_same_as_loop(segments, scores, score_floor=0.25, keep_last=keep_last)


def test_permutation_shift_and_unit():
    (segments,), (scores,) = problems.scattered(1, 80)
    expected = np.asarray(soft_nms(segments, scores))
    order = np.random.default_rng(7).permutation(80)
    np.testing.assert_allclose(soft_nms(segments[order], scores[order]), expected[order], rtol=1e-5)
    np.testing.assert_allclose(soft_nms(segments + 16, scores), expected, rtol=1e-3)
    np.testing.assert_allclose(soft_nms(4 * segments, scores), expected, rtol=1e-5)


@pytest.mark.parametrize("keep_last", [True, False])
def test_padding_and_batching_change_nothing(keep_last):
    segments, scores = problems.clustered(6, 60)
    scores[1], scores[2, 1:], scores[3, 2:] = 0, 0, 0  # none, one and two candidates
    one_by_one = [soft_nms(*problem, keep_last=keep_last) for problem in zip(segments, scores)]
    together = soft_nms(segments.reshape(2, 3, 60, 2), scores.reshape(2, 3, 60), keep_last=keep_last)
    np.testing.assert_allclose(together.reshape(6, 60), one_by_one, rtol=1e-5)
    more_segments, more_scores = (
        np.pad(segments, ((0, 0), (9, 40), (0, 0))),
        np.pad(scores, ((0, 0), (9, 40))),
    )
    padded = soft_nms(more_segments, more_scores, keep_last=keep_last)
    np.testing.assert_allclose(padded[:, 9:69], one_by_one, rtol=1e-5)
    assert not np.asarray(padded)[:, :9].any() and not np.asarray(padded)[:, 69:].any()
    vmapped = jax.vmap(lambda *problem: soft_nms(*problem, keep_last=keep_last))(segments, scores)
    np.testing.assert_allclose(vmapped, one_by_one, rtol=1e-5)


def test_segments_of_no_width_and_nan():
    segments = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [np.nan, 1.0], [0.0, 2.0], [0.0, 2.0]])
    scores = np.array([0.9, 0.8, 0.7, 0.95, np.nan, 0.6])
    expected = [0.9, 0.8, 0.7, 0.95, 0, 0.6 * np.exp(-2)]
    np.testing.assert_allclose(soft_nms(segments, scores), expected, rtol=1e-6)


def test_width_of_the_picked_segment_is_at_least_1e_5():
    segments = np.array([[0.0, 5e-6], [0.0, 1e-5]])
    one_third, one_half = np.exp(-(np.array([1 / 3, 1 / 2]) ** 2) / 0.5)
    np.testing.assert_allclose(soft_nms(segments, np.array([0.9, 0.8])), [0.9, 0.8 * one_third], rtol=1e-5)
    np.testing.assert_allclose(soft_nms(segments, np.array([0.8, 0.9])), [0.8 * one_half, 0.9], rtol=1e-5)


def plain_hard_nms(segments, scores, threshold, extra_length=0.0):
    """The rows that `hard_nms` keeps, one pair at a time."""
    waiting, kept = sorted(range(len(scores)), key=lambda row: -scores[row]), []
    while waiting:
        best, *others = waiting
        kept.append(best)
        waiting = []
        for other in others:
            (start, end), (other_start, other_end) = segments[best], segments[other]
            overlap = max(0, min(end, other_end) - max(start, other_start) + extra_length)
            union = (end - start + extra_length) + (other_end - other_start + extra_length) - overlap
            if not overlap or overlap / union < threshold:
                waiting.append(other)
    return kept


@pytest.mark.parametrize("number, threshold", list(enumerate(HARD_GOLDEN.info["thresholds"])))
def test_hard_nms_golden(number, threshold):
    rows = HARD_GOLDEN.arrays[f"proposals_{number}"]
    kept = hard_nms(rows[:, 1:], rows[:, 0], threshold, extra_length=1.0)
    np.testing.assert_array_equal(rows[kept], HARD_GOLDEN.arrays[f"kept_{number}"])


def test_hard_nms_by_hand():
    segments = np.array([[0.0, 4.0], [1.0, 5.0], [3.0, 7.0], [8.0, 9.0]])
    scores = np.array([0.5, 0.9, 0.8, 0.6])
    # tIoU with segment 1 is 3/5 of segment 0 and 1/3 of segment 2, which shares 1/7 with segment 0.
    assert hard_nms(segments, scores, 0.61).tolist() == [1, 2, 3, 0]
    assert hard_nms(segments, scores, 0.6).tolist() == [1, 2, 3]
    assert hard_nms(segments, scores, 1 / 3).tolist() == [1, 3]
    # One more on lengths and overlaps: 4/6 of segment 0 and 3/7 of segment 2 with segment 1.
    assert hard_nms(segments, scores, 0.4).tolist() == [1, 2, 3]
    assert hard_nms(segments, scores, 0.4, extra_length=1.0).tolist() == [1, 3]


def test_an_extra_length_lets_short_segments_drop_neighbours_that_they_do_not_touch():
    segments, scores = np.array([[10.0, 10.2], [10.3, 10.5], [12.0, 12.2]]), np.array([0.7, 0.8, 0.9])
    assert hard_nms(segments, scores, 0.5).tolist() == [2, 1, 0]
    assert hard_nms(segments, scores, 0.5, extra_length=1.0).tolist() == [2, 1]  # 0.9 / 1.5


@pytest.mark.parametrize("extra_length", [0.0, 1.0])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.6, 1.0])
def test_hard_nms_is_the_same_as_one_pair_at_a_time(threshold, extra_length):
    """Among them many equal scores, equal segments, ties at the threshold and segments without length."""
    rng = np.random.default_rng(3)
    for count in range(60):
        start = rng.integers(0, 15, count)
        segments = np.stack([start, start + rng.integers(0, 10, count)], -1).astype(np.float64)
        scores = rng.integers(0, 6, count) / 5
        expected = plain_hard_nms(segments.tolist(), scores, threshold, extra_length)
        assert hard_nms(segments, scores, threshold, extra_length).tolist() == expected


def test_hard_nms_of_none_and_of_equal_ones():
    assert hard_nms(np.zeros((0, 2)), np.zeros(0), 0.5).tolist() == []
    assert hard_nms(np.tile([[1.0, 3.0]], (4, 1)), np.full(4, 0.5), 0.5).tolist() == [0]
    assert hard_nms(np.ones((2, 2)), np.full(2, 0.5), 0.5).tolist() == [0, 1]  # no length, no overlap
    assert hard_nms(np.ones((2, 2)), np.full(2, 0.5), 0.5, extra_length=1.0).tolist() == [0]


def test_hard_nms_does_not_depend_on_order_shift_and_unit():
    (segments,), (scores,) = problems.clustered(1, 300)
    kept = hard_nms(segments, scores, 0.6, extra_length=1.0)
    order = np.random.default_rng(7).permutation(300)
    np.testing.assert_array_equal(
        order[hard_nms(segments[order], scores[order], 0.6, extra_length=1.0)], kept
    )
    np.testing.assert_array_equal(hard_nms(4 * segments, scores, 0.6, extra_length=4.0), kept)
    np.testing.assert_array_equal(
        hard_nms(segments.astype(np.float64) + 64, scores, 0.6, extra_length=1.0), kept
    )


def test_hard_nms_of_many_segments():
    """Without a matrix of all pairs, which would not fit: 50,000 segments, of which each second one repeats
    the one before.
    """
    start = 10.0 * np.repeat(np.arange(25_000), 2)
    segments = np.stack([start, start + 5], -1)
    kept = hard_nms(segments, np.linspace(1, 0, 50_000), 0.6)
    np.testing.assert_array_equal(kept, np.arange(0, 50_000, 2))


def test_segments_suppress_those_of_their_own_group_alone():
    segments, scores = np.tile([[1.0, 3.0]], (5, 1)), np.array([0.5, 0.9, 0.7, 0.9, 0.1])
    groups = np.array([7, 2, 7, 2, 3])
    assert hard_nms(segments, scores, 0.5, groups=groups).tolist() == [1, 4, 2]  # by rising group
    assert hard_nms(segments, scores, 0.5).tolist() == [1]
    assert [rows.tolist() for rows in rows_of_each(groups)] == [[1, 3], [4], [0, 2]]
    assert rows_of_each([]) == []


@pytest.mark.parametrize("threshold", [0.2, 0.6, 1.0])
def test_voting_is_the_weighted_mean_of_all_that_overlap_enough(threshold):
    (candidates,), (scores,) = problems.clustered(1, 500)
    candidates = candidates.astype(np.float64)
    kept = np.concatenate([candidates[::7], [[-50.0, -40.0], [5.0, 5.0]]])  # nothing overlaps the last two
    weight = tiou(kept[:, None], candidates)
    weight = np.where(weight >= threshold, weight * scores, 0)
    expected = (weight[:-2] @ candidates) / weight[:-2].sum(axis=1, keepdims=True)
    moved = vote(kept, candidates, scores, threshold)
    np.testing.assert_allclose(moved[:-2], expected, rtol=1e-5)
    np.testing.assert_array_equal(moved[-2:], kept[-2:])
    order = np.random.default_rng(7).permutation(500)
    np.testing.assert_allclose(vote(kept, candidates[order], scores[order], threshold), moved)
    in_another_unit = vote(4 * kept + 64, 4 * candidates + 64, scores, threshold)
    np.testing.assert_allclose(in_another_unit, 4 * moved + 64)
    assert vote(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), threshold).shape == (0, 2)
