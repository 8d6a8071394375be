import numpy as np

from tal_jax.ops.lanes import lanes


def test_the_surest_segment_has_the_first_lane():
    segments = [(0, 5), (1, 6), (4, 7), (6, 9)]
    assert lanes(segments, [0.1, 0.9, 0.5, 0.2]) == [2, 0, 1, 0]  # the last one only touches the second


def test_of_equal_scores_the_first_of_the_list_chooses_first():
    assert lanes([(0, 2), (1, 3)], [0.5, 0.5]) == [0, 1]
    assert lanes([(1, 3), (0, 2)], [0.5, 0.5]) == [0, 1]
    assert lanes([], []) == []


def test_no_two_overlap_on_a_lane_and_no_lane_could_be_lower():
    rng = np.random.default_rng(0)
    starts, scores = rng.uniform(0, 50, 200), rng.random(200)
    segments = np.stack([starts, starts + rng.exponential(3, 200)], axis=1)
    chosen = lanes(segments, scores)
    for i, j in zip(*np.triu_indices(200, 1)):
        overlap = min(segments[i][1], segments[j][1]) > max(segments[i][0], segments[j][0])
        assert not (overlap and chosen[i] == chosen[j])
    for i, lane in enumerate(chosen):  # a better one is in the way on each lane before its own
        better = [j for j in range(200) if scores[j] > scores[i]]
        in_way = {
            chosen[j] for j in better if segments[j][0] < segments[i][1] and segments[i][0] < segments[j][1]
        }
        assert {*range(lane)} <= in_way
