"""Every field of P-GCN beside those of `base_config`; defaults: the published code on THUMOS14
(docs/pgcn.md).
"""

import functools

import ml_collections

from tal_jax import curriculum, readings
from tal_jax.config import base_config
from tal_jax.errors import DataError

BRANCHES = ("gcn", "mlp", "mean")
WEIGHTED = ("activity", "completeness", "regression")
MOST_NEIGHBOURS = 255  # of a proposal, see `graph.neighbour_counts`
# Open points (tal_jax/readings.py); the default first.
READINGS = {
    **curriculum.READINGS,
    # kind of a branch; mlp: no neighbours; mean: an MLP, then the mean over the neighbours
    "action_branch": BRANCHES,
    "completeness_branch": BRANCHES,
    "self_term": (True, False),  # P-GCN Eq. 10 adds the proposal itself
    "edge": ("cos", "embedded_cos"),  # similarity of features, or of their learned projections
    # model.sampled neighbours at test too, as the published script; the paper takes all
    "decode.sampled": (False, True),
    # class scores of whole recordings are a factor of the scores
    "decode.recording_probability": (False, True),
    # which losses are weighted; this and what follows is ours (docs/pgcn.md)
    "weighted": readings.subsets(WEIGHTED),
    # what the auxiliary head reads: both branches, the action branch, or the completeness branch
    "auxiliary_features": ("both", "cls", "loc"),
    "auxiliary_normaliser": ("positives", "all"),  # N of DW-AFSD Eq. 10: foreground proposals, or all centres
    # with the auxiliary head: the score times completeness, without completeness, or the head's alone
    "decode.final_score": ("times_completeness", "replace_completeness", "aux_only"),
}
reading = functools.partial(readings.reading, points=READINGS)  # (config, name)
CHOICES = {
    "curriculum.auxiliary": ("branch", "none"),
}

# P-GCN Tables 3-7: row -> the fields that differ from `pgcn_config`. With the published mAP at tIoU 0.5 on
# THUMOS14, RGB / flow.
ROWS = {
    "full": {},  # 37.27 / 46.53
    "mlp_mlp": {"readings": ("action_branch=mlp", "completeness_branch=mlp")},  # 34.75 / 43.68
    "mlp_gcn": {"readings": ("action_branch=mlp",)},  # 35.94 / 44.59
    "gcn_mlp": {"readings": ("completeness_branch=mlp",)},  # 35.82 / 45.26
    "mean_mean": {"readings": ("action_branch=mean", "completeness_branch=mean")},  # 35.32 / 43.97
    "mean_gcn": {"readings": ("action_branch=mean",)},  # 36.50 / 45.78
    "gcn_mean": {"readings": ("completeness_branch=mean",)},  # 36.22 / 44.42
    "no_self_term": {"readings": ("self_term=False",)},  # 35.55 / 44.83
    "embedded_cos": {"readings": ("edge=embedded_cos",)},  # 36.81 / 46.89
    "no_surrounding": {"graph.contextual": 10, "graph.surrounding": 0},  # 35.84 / 45.89
    "no_contextual": {"graph.contextual": 0, "graph.surrounding": 10},  # 36.81 / 45.57
    "sampled_1": {"model.sampled": 1},  # 36.0 / 46.15
    "sampled_2": {"model.sampled": 2},  # 36.92 / 45.06
    "sampled_3": {"model.sampled": 3},  # 35.68 / 45.13
    "sampled_5": {"model.sampled": 5},  # 36.11 / 46.28
    "sampled_10": {"model.sampled": 10},  # 36.37 / 46.14
}


def require_valid(config):
    """Raises DataError for the first field whose value cannot be."""
    model, graph = config.model, config.graph
    if graph.contextual + graph.surrounding < model.sampled:
        raise DataError(
            f"config.graph.contextual is {graph.contextual} and config.graph.surrounding is "
            f"{graph.surrounding}; together they must be at least config.model.sampled, which is "
            f"{model.sampled}."
        )
    if graph.contextual + graph.surrounding > MOST_NEIGHBOURS:
        raise DataError(
            f"config.graph.contextual is {graph.contextual} and config.graph.surrounding is "
            f"{graph.surrounding}; together they may be at most {MOST_NEIGHBOURS}."
        )
    weights = config.decode.fusion_weights
    if len(weights) != 2 or sum(weights) <= 0:
        raise DataError(
            f"config.decode.fusion_weights is {tuple(weights)}; it must be two numbers, not both 0."
        )


def pgcn_config(variant="pgcn", row="full", stream=""):
    """A config of P-GCN but for its `name` and `data`: THUMOS14.

    Args:
      variant: 'pgcn'; 'pgcn_dw', with dynamic weights, auxiliary head and curriculum (DW-AFSD Table 7).
      row: of `ROWS`.
      stream: what the features are of, 'rgb' or 'flow', which set the learning rate; "": neither.

    Raises:
      DataError: there is no such row or stream.
    """
    if row not in ROWS:
        raise DataError(f"{variant} has no row '{row}'; its rows are {', '.join(ROWS)}.")
    if stream not in ("rgb", "flow", ""):
        raise DataError(
            f"{variant} has no input '{stream}'; it learns from the features of 'rgb' or of 'flow'."
        )
    config = base_config(variant)
    config.seed = 777
    config.proposals = ""  # file with the proposals of all recordings, see docs/data.md
    # Rows of a video's features: 0, features of overlapping clips; ActivityNet: 100, rescaled features, which
    # share the video among them.
    config.window.snippets = 0

    config.pools = pools = ml_collections.ConfigDict()
    pools.incomplete_tiou = 0.3  # incomplete: best tIoU below it; ActivityNet: 0.6
    # and more of the proposal than this inside of that action; ActivityNet: 0
    pools.incomplete_overlap = 0.01
    pools.background_tiou = 0.01  # background: best tIoU below it; ActivityNet: 0.1
    pools.background_coverage = 0.02  # and longer than this share of the recording; ActivityNet: 0
    pools.foreground = 1  # proposals of a video in a batch, the centres of their trees
    pools.incomplete = 6
    pools.background = 1
    pools.repeats = 20  # of every video in an epoch; ActivityNet: 5

    config.model = model = ml_collections.ConfigDict()
    model.hidden = 512
    model.sampled = 4  # N_s: so many neighbours, drawn at random, in training
    model.dropout = 0.8  # before the activity head
    model.branch_dropout = 0.7  # between the two layers of a branch; the paper does not mention it

    config.graph = graph = ml_collections.ConfigDict()
    graph.contextual = 8  # neighbours that overlap by a tIoU above 0.7, the closest ones
    graph.surrounding = 2  # neighbours that do not overlap, the nearest ones

    config.loss = loss = ml_collections.ConfigDict()
    loss.hard_negative_share = 0.17  # of the incomplete proposals of a video, those that train: 1 of 6

    config.curriculum = c = ml_collections.ConfigDict()
    on = variant == "pgcn_dw"
    c.weights = on  # dynamic weights (DW-AFSD Eq. 6-8)
    c.schedule = on  # curriculum (DW-AFSD Eq. 9); without it alpha is curriculum.CONSTANT_ALPHA
    c.auxiliary = "branch" if on else "none"  # DW-AFSD Eq. 10
    c.alpha_0 = 0.4  # DW-AFSD Table 1

    config.decode.proposals = 600  # of a video at test, the first of its list; ActivityNet: 100
    config.decode.max_per_window = 2000  # (proposal, class) pairs of a recording; ActivityNet: 100
    config.decode.nms_tiou = 0.35  # of one stream; ActivityNet: 0.4
    config.decode.fused_nms_tiou = 0.32  # of two streams; ActivityNet: 0.4
    config.decode.fusion_weights = (2.0, 3.0)  # of RGB and flow: the paper; the published script: (1.0, 1.2)
    # with class scores of whole recordings: all proposals get so many of the best classes
    config.decode.recording_classes = 2

    config.train.epochs = 70
    config.train.batch_size = 32  # videos
    # the paper; the published code has one default, 0.01
    config.train.learning_rate = 0.001 if stream == "rgb" else 0.01
    config.train.schedule = "steps"
    config.train.decay_epochs = (15, 30, 45)
    config.train.weight_decay = 5e-4  # not on biases

    config.evaluate.batch_size = 1  # recordings: a graph of 2,000 proposals takes 170 MB
    config.evaluate.tious = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    config.update_from_flattened_dict(ROWS[row])
    return config
