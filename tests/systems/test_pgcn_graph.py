"""P-GCN before the network: labels, pools, trees and pooled features, as published and by hand."""

import numpy as np
import pytest

from tal_jax.systems.pgcn import features, graph, pools
from tal_jax.systems.pgcn.config import pgcn_config
from tests.golden import recipe
from tests.golden_case import GoldenCase
from tests.systems.pgcn_case import golden_videos, labelled_video

SETTINGS = pgcn_config().pools


def all_pools():
    return [pools.make_pools(SETTINGS, video) for video, _ in golden_videos()]


@pytest.fixture(scope="module")
def case():
    return GoldenCase.load("pgcn/graph").arrays


def golden_proposals():
    return GoldenCase.load("pgcn/proposals").arrays


def random_segments(count, seed=0, num_frames=300):
    rng = np.random.default_rng(seed)
    start = rng.integers(0, num_frames - 40, count)
    return np.stack([start, start + rng.integers(1, 40, count)], axis=1)


# --- labels and pools ---


def test_golden_pools_and_targets():
    arrays = golden_proposals()
    for i, pool in enumerate(all_pools()):
        rows = np.concatenate([pool.segments, pool.labels[:, None]], axis=1)
        ends = np.cumsum(pool.sizes)
        np.testing.assert_array_equal(rows[: ends[0]], arrays[f"v{i}_fg"])
        np.testing.assert_array_equal(rows[ends[0] : ends[1]], arrays[f"v{i}_incomplete"])
        np.testing.assert_array_equal(rows[ends[1] :], arrays[f"v{i}_background"])
        np.testing.assert_allclose(pool.targets[: ends[0]], arrays[f"v{i}_fg_targets"], rtol=0, atol=1e-6)
        assert not pool.targets[ends[0] :].any()
        assert not pool.targets[ends[0] - pool.num_truths : ends[0]].any()  # an action is where it should be


def test_labels_are_what_the_golden_file_says():
    for video, num_frames in golden_videos():
        found = pools.label_video(video.segments, video.truth_segments, video.truth_labels, num_frames)
        np.testing.assert_array_equal(found.labels, video.labels)
        np.testing.assert_allclose(found.best_tiou, video.best_tiou, atol=5.1e-5)
        np.testing.assert_allclose(found.overlap_self, video.overlap_self, atol=5.1e-5)


def test_labels_by_hand():
    segments = [[0, 10], [5, 15], [20, 30], [40, 50]]
    video = pools.label_video(segments, [[0, 10], [22, 24]], [3, 7], 100)
    np.testing.assert_array_equal(video.labels, [3, 3, 7, 0])
    np.testing.assert_allclose(video.best_tiou, [1, 5 / 15, 2 / 10, 0])
    np.testing.assert_allclose(video.overlap_self, [1, 0.5, 0.2, 0])
    np.testing.assert_allclose(video.coverage, 0.1)
    np.testing.assert_array_equal(video.truth_labels, [3, 7])
    for rows, truths in ((segments, np.zeros((0, 2), int)), (np.zeros((0, 2), int), [[0, 10]])):
        video = pools.label_video(rows, truths, [3][: len(truths)], 100)
        assert {len(rows)} == {len(array) for array in video[:5]} and not video.labels.any()
        assert len(video.truth_segments) == len(video.truth_labels) == len(truths)


def test_pools_by_hand():
    best_tiou = [0.7, 0.71, 0.29, 0.3, 0.2, 0.0, 0.0]
    overlap_self = [1.0, 1.0, 0.02, 1.0, 0.01, 0.0, 0.0]
    segments = np.array([[0, 9], [0, 10], [1, 50], [2, 30], [3, 90], [60, 63], [60, 62]])
    rows = np.column_stack([np.arange(7), best_tiou, overlap_self, segments])
    video = labelled_video(rows, [[9, 0, 11]], 100)
    pool = pools.make_pools(SETTINGS, video)
    # 0.7 is not above 0.7; 0.3 not below 0.3; an overlap of 0.01 not above it; 2 frames of 100 not above
    # 0.02.
    np.testing.assert_array_equal(pool.labels, [1, 9, 2, 5])
    assert pool.sizes == (2, 1, 1) and pool.num_truths == 1
    np.testing.assert_allclose(pool.targets[0], [0.5 / 11, np.log(12 / 11)])


def test_statistics_leave_the_actions_out():
    collected = all_pools()
    mean, std = pools.target_statistics(collected)
    targets = np.concatenate([pool.targets[: pool.sizes[0] - pool.num_truths] for pool in collected])
    standardised = (targets - mean) / std
    np.testing.assert_allclose(standardised.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose((standardised**2).mean(0), 1)  # the deviation of a population
    np.testing.assert_array_equal(pools.target_statistics([]), [[0, 0], [1, 1]])


# --- graph ---


def test_golden_tiou_distance_and_candidates(case):
    segments = case["segments"]
    np.testing.assert_array_equal(segments, golden_videos()[0][0].segments)
    np.testing.assert_allclose(graph.relevance(segments[:, None], segments), case["tiou"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(
        graph.distance(segments[:, None], segments), case["distance"], rtol=0, atol=1e-9
    )
    np.testing.assert_array_equal(graph.candidates(segments), case["candidates"])


def test_golden_trees_at_test(case):
    class NoShuffle:
        def shuffle(self, values):
            pass

    for name, rng in (("tree_noshuffle", NoShuffle()), ("tree_seed777", np.random.RandomState(777))):
        trees = [graph.sample_tree(i, case["candidates"], 4, rng) for i in range(40)]
        np.testing.assert_array_equal(trees, case[name])


def test_golden_draws_of_training(case):
    collected, rng = all_pools(), np.random.RandomState(5)
    statistics = pools.target_statistics(collected)
    for i in range(2):
        pool = collected[i]
        sums = graph.relevance(pool.segments[:, None], pool.segments).sum(1)
        np.testing.assert_allclose(sums, case[f"train{i}_pool_iou_sum"], rtol=0, atol=1e-9)
        draw = pools.draw_trees(SETTINGS, pool, graph.candidates(pool.segments), 4, statistics, rng)
        np.testing.assert_array_equal(draw["nodes"], case[f"train{i}_pool_index"])
        np.testing.assert_array_equal(draw["types"], case[f"train{i}_type"][:, 0])
        np.testing.assert_array_equal(draw["labels"], case[f"train{i}_label"][:, 0])
        np.testing.assert_allclose(
            draw["targets"], np.float32(case[f"train{i}_reg_target"][:, 0]), rtol=0, atol=1e-9
        )


def test_candidates_by_hand():
    segments = [[0, 99], [5, 99], [0, 79], [200, 299], [120, 129], [2000, 2009]]
    found = graph.candidates(segments, contextual=3, surrounding=2)
    # tIoU 0.95 and 0.8, then in turn; distance 75 / 130 and 200 / 300
    np.testing.assert_array_equal(found[0], [1, 2, 1, 4, 3])
    # overlaps nothing: itself; 200 / 300 and 197.5 / 295, but 125 / 180
    np.testing.assert_array_equal(found[3], [3, 3, 3, 0, 1])
    overlapping = graph.candidates([[0, 99], [40, 139]], contextual=2, surrounding=1)
    # tIoU 0.43 is neither of the two kinds
    np.testing.assert_array_equal(overlapping, [[0, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(graph.candidates([[3, 8]]), np.zeros((1, 10)))
    assert graph.candidates(np.zeros((0, 2), int)).shape == (0, 10)


def test_an_exact_duplicate_is_a_neighbour():
    np.testing.assert_array_equal(graph.candidates([[3, 8], [3, 8]], 1, 1), [[1, 0], [0, 1]])


def plain_candidates(segments, i, contextual, surrounding):
    """The same as `graph.candidates` for one proposal, by sorting in plain Python."""
    others = [j for j in range(len(segments)) if j != i]
    tiou = {j: graph.relevance(segments[i], segments[j]) for j in others}
    near = sorted((j for j in others if tiou[j] > 0.7), key=lambda j: -tiou[j]) or [i]
    apart = sorted(
        (j for j in others if tiou[j] == 0), key=lambda j: graph.distance(segments[i], segments[j])
    ) or [i]
    near, apart = near[:contextual], apart[:surrounding]
    return [near[j % len(near)] for j in range(contextual)] + [
        apart[j % len(apart)] for j in range(surrounding)
    ]


@pytest.mark.parametrize("contextual, surrounding", [(8, 2), (10, 0), (0, 10)])
def test_candidates_are_those_of_a_plain_search_in_any_blocks(contextual, surrounding, monkeypatch):
    segments = random_segments(150)
    monkeypatch.setattr(graph, "ROWS_AT_ONCE", 64)
    found = graph.candidates(segments, contextual, surrounding)
    np.testing.assert_array_equal(
        found, [plain_candidates(segments, i, contextual, surrounding) for i in range(150)]
    )


def test_a_permutation_of_proposals_permutes_the_graph():
    segments = random_segments(30, num_frames=100000)  # no ties
    order = np.random.default_rng(1).permutation(30)
    counts = graph.neighbour_counts(graph.candidates(segments), 30)
    permuted = graph.neighbour_counts(graph.candidates(segments[order]), 30)
    np.testing.assert_array_equal(permuted, counts[order][:, order])


def test_neighbour_counts():
    counts = graph.neighbour_counts(np.array([[1, 1, 2], [1, 1, 1], [0, 1, 2]]), 4)
    np.testing.assert_array_equal(counts, [[0, 2, 1, 0], [0, 3, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    assert not graph.neighbour_counts(np.zeros((0, 10), int), 2).any()


def test_trees_hold_sampled_neighbours_of_neighbours():
    neighbours = graph.candidates(random_segments(50))
    rng, firsts = np.random.default_rng(0), []
    for _ in range(200):
        tree = graph.sample_tree(7, neighbours, 3, rng)
        assert tree.shape == (13,) and tree[0] == 7
        for node in range(4):
            children = list(tree[1 + 3 * node : 4 + 3 * node])
            available = list(neighbours[tree[node]])
            assert all(children.count(child) <= available.count(child) for child in children)
        firsts.append(tree[1])
    assert set(firsts) == set(neighbours[7])  # every neighbour comes up


def test_an_empty_pool_is_stood_in_for_by_foreground():
    video = labelled_video([[2, 0.9, 1.0, 0, 10]], [[2, 0, 11]], 100)
    pool = pools.make_pools(SETTINGS, video)
    assert pool.sizes == (2, 0, 0)
    neighbours = graph.candidates(pool.segments)
    draw = pools.draw_trees(
        SETTINGS, pool, neighbours, 4, (np.zeros(2), np.ones(2)), np.random.default_rng(0)
    )
    assert not draw["types"].any() and (draw["labels"] == 2).all() and draw["nodes"].shape == (8, 21)
    np.testing.assert_allclose(draw["targets"], pool.targets[draw["nodes"][:, 0]].astype(np.float32))


def test_types_labels_and_targets_of_a_draw():
    (pool, *_), statistics = all_pools(), (np.array([0.1, 0.2]), np.array([2.0, 4.0]))
    draw = pools.draw_trees(
        SETTINGS, pool, graph.candidates(pool.segments), 4, statistics, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(draw["types"], [0, 1, 1, 1, 1, 1, 1, 2])
    centres = draw["nodes"][:, 0]
    np.testing.assert_array_equal(draw["labels"], [*pool.labels[centres[:7]], 0])
    np.testing.assert_allclose(
        draw["targets"][0], (pool.targets[centres[0]] - statistics[0]) / statistics[1], rtol=1e-6
    )
    assert not draw["targets"][1:].any()


# --- features ---


def test_golden_extents():
    arrays = golden_proposals()
    for i, ((video, num_frames), pool) in enumerate(zip(golden_videos(), all_pools(), strict=True)):
        np.testing.assert_array_equal(
            features.training_extents(pool.segments, num_frames), arrays[f"v{i}_train_ticks"]
        )
        np.testing.assert_array_equal(
            features.test_extents(video.segments, num_frames), arrays[f"v{i}_test_ticks"]
        )


def test_golden_pooled_features():
    arrays = golden_proposals()
    for i, (video, num_frames) in enumerate(golden_videos()):
        rows = (num_frames - 64) // 8 + 1
        matrix = recipe.array(f"ft:{i}", [rows, 1024], 0, 0, 1)
        parts = features.clip_rows(
            features.three_parts(features.test_extents(video.segments, num_frames)), rows
        )
        pooled = features.proposal_features(matrix, parts).reshape(-1, 3, 1024)
        np.testing.assert_allclose(pooled[:6, :, :64], arrays[f"v{i}_comp_ft"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(pooled[:6, 1, :64], arrays[f"v{i}_act_ft"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(pooled.mean(2), arrays[f"v{i}_comp_ft_mean"], rtol=0, atol=1e-6)


def test_extents_by_hand():
    np.testing.assert_array_equal(
        features.training_extents([[9, 20], [0, 5]], 22), [[10, 20, 5, 22], [1, 5, 1, 7]]
    )
    np.testing.assert_array_equal(
        features.test_extents([[40, 60], [0, 10]], 100), [[40, 60, 30, 70], [0, 10, 0, 15]]
    )
    assert features.test_extents([[29, 58]], 100)[0, 0] == int(29 / 100 * 100) == 28  # a binary fraction


def test_rows_of_clips_by_hand():
    # 64-frame clips at 0, 8, 16, ...: the clip that ends last within frame 100 begins before 36 + 8, at 40.
    np.testing.assert_array_equal(
        features.clip_rows([[17, 100], [17, 60], [500, 600]], 20), [[2, 5], [2, 2], [19, 19]]
    )
    # as published, never the last row
    np.testing.assert_array_equal(features.clip_rows([[0, 1000]], 20), [[0, 18]])
    np.testing.assert_array_equal(features.clip_rows([[0, 1000]], 1), [[0, 0]])


def test_rescaled_rows_by_hand():
    np.testing.assert_array_equal(
        features.rescaled_rows([[19, 40], [990, 999]], 100, 1000), [[1, 5], [99, 99]]
    )


def test_interval_max_is_the_maximum_of_every_interval():
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((37, 3))
    first, last = np.meshgrid(np.arange(37), np.arange(37))
    rows = np.stack([first, last], axis=-1)[first <= last]
    found = features.interval_max(matrix, rows)
    np.testing.assert_array_equal(found, [matrix[u : w + 1].max(0) for u, w in rows])
    assert features.interval_max(matrix, np.zeros((0, 2), int)).shape == (0, 3)


def test_parts_of_an_extended_feature():
    matrix = np.arange(10.0)[:, None]
    extents = [[3, 5, 2, 7]]
    np.testing.assert_array_equal(
        features.proposal_features(matrix, features.three_parts(extents)), [[3, 5, 7]]
    )
