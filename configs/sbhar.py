"""SBHAR: 12 activities and postural transitions in real recordings of a waist-worn phone. Times: two CPU cores.

python -m tal_jax.main --config=configs/sbhar.py          DW-AFSD: mAP about 96 in 5 to 7 minutes
python -m tal_jax.main --config=configs/sbhar.py:afsd     AFSD, the baseline
python -m tal_jax.main --config=configs/sbhar.py:demo     DW-AFSD in a fifth of the epochs: mAP 93 to 95 in 2 minutes
python -m tal_jax.main --config=configs/sbhar.py:ecm      ECM: mAP 46 to 58 in 1.5 minutes
python -m tal_jax.main --config=configs/sbhar.py:kt_mgfn  KT-MGFN: mAP 49 to 54 in 3 minutes; its row simple: 58 to 60 in half a minute
python -m tal_jax.main --config=configs/sbhar.py:tcanet   TCANet on the proposals of the demo: mAP 93 to 95 in 5 minutes, after the demo's 2
python -m tal_jax.main --config=configs/sbhar.py:pgcn     P-GCN on the same: mAP 75 to 79 in half a minute
python -m tal_jax.main --config=configs/sbhar.py:pgcn_dw  P-GCN with dynamic weights by curriculum learning

ECM and KT-MGFN see of the annotations which classes a window of 20 s or 30 s holds; the whole KT-MGFN also sees the training actions
cut out as clips. Rows of ablations: `:ecm,row=pre` (TABLE_4 in systems/ecm/config.py), `:kt_mgfn,row=simple` (ABLATION in
systems/kt_mgfn/config.py), `:pgcn,row=mlp_mlp` (ROWS in systems/pgcn/config.py).

TCANet and P-GCN train their first stage in the folder first_stage of their workdir, or take --config.proposals=FILE.
"""

from tal_jax.config import split_variant
from tal_jax.data import sbhar
from tal_jax.systems.afsd.config import sequence_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config


def get_config(variant="dw_afsd"):
    """variant: 'dw_afsd', 'afsd', 'demo' (DW-AFSD in a fifth of the time), 'tcanet', or 'ecm', 'kt_mgfn', 'pgcn', 'pgcn_dw', with ',row=' one of an ablation."""
    system = variant.split(",")[0]
    if system in ("ecm", "kt_mgfn"):
        return weak_config(*split_variant(variant, (system,), row="full" if system == "ecm" else "boundary"))
    if system in ("pgcn", "pgcn_dw"):
        return proposal_config(*split_variant(variant, (system,), row="full"))
    if system == "tcanet":
        return proposal_config(*split_variant(variant, (system,)))
    split_variant(variant, ("dw_afsd", "afsd", "demo", "ecm", "kt_mgfn", "pgcn", "pgcn_dw", "tcanet"))
    config = sequence_config("dw_afsd" if variant == "demo" else variant)
    config.name = f"sbhar_{variant}"
    config.data = sbhar.data_config()
    config.data.samples_per_frame = 10  # a frame is 0.2 s

    config.window.frames = 512
    config.window.train_stride_frames = 256
    config.window.test_stride_frames = 256
    config.window.background = 0.0  # 286 training windows hold an action, 6 do not
    config.augment.jitter_frames = 128
    config.augment.scale = 0.05
    config.augment.noise = 0.02
    config.augment.rotation_deg = 15.0

    config.model.channels = 128
    config.model.backbone_width = 64
    # Short actions to fine levels, long ones to coarse levels, as AFSD does on ActivityNet (frames of the longer side).
    config.loss.level_bounds = ((0, 10), (5, 20), (10, 40), (20, 80), (40, 160), (80, 512))
    if variant == "demo":
        config.train.epochs = 10
        config.train.batch_size = 4  # twice the updates in the same time
        config.augment.crop = 0.3
    return config


def proposal_config(system, options):
    """P-GCN or TCANet on the proposals of a short DW-AFSD, which it trains first; options: `row` of P-GCN's ablation."""
    config = tcanet_config() if system == "tcanet" else pgcn_config(system, options["row"])
    config.name = "_".join(["sbhar", system, *options.values()])
    config.first_stage = get_config("demo")
    config.data = sbhar.data_config()
    config.data.samples_per_frame = 10  # a feature every 0.2 s
    config.data.statistics_samples = 64  # of 1.3 s
    config.data.standardised = True
    config.decode.proposals = 300
    config.evaluate.tious = (0.3, 0.4, 0.5, 0.6, 0.7)
    config.evaluate.batch_size = 1
    if system != "tcanet":
        config.pools.background_coverage = 0.0
        config.model.hidden = 128
        config.model.dropout = 0.0  # with those of the paper a branch has too little of 48 channels left
        config.model.branch_dropout = 0.0
        config.train.learning_rate = 0.02
        config.train.epochs = 20
        config.train.decay_epochs = (8, 14, 18)
        config.predict.min_score = 3.0  # probability times exp(completeness), without bound
        return config
    config.window.snippets = 512  # 102 s
    config.window.train_stride_frames = 256
    config.window.test_stride_frames = 256
    config.window.proposals = 32
    config.window.min_action_sec = 0.0
    config.model.channels = 64
    config.model.hidden = 64
    config.model.samples = (8, 16, 8)  # a transition is a few seconds long, 5 features a second
    config.decode.classes = "proposals"
    config.train.learning_rate = 1e-3
    config.train.epochs = 14
    config.train.decay_epochs = (10,)
    config.train.warmup_steps = 50
    return config


def weak_config(system, options):
    """ECM or KT-MGFN; options: `row` of its ablation."""
    row = options["row"]
    config = ecm_config(row) if system == "ecm" else kt_mgfn_config(row)
    config.name = f"sbhar_{system}_{row}"
    config.data = sbhar.data_config()
    config.data.samples_per_frame = 20  # a frame is 0.4 s
    config.data.statistics_samples = 128  # 2.6 s
    config.data.standardised = True
    config.window.frames = config.window.snippets = 50 if system == "ecm" else 75  # 20 s, 30 s
    config.window.train_stride_frames = config.window.frames  # so that labels say no more about times than one window does
    config.window.test_stride_frames = 17 if system == "ecm" else 25  # a third of it
    config.decode.nms_tiou = 0.3  # actions follow each other, they do not overlap
    config.decode.nms_extra_sec = 0.0
    config.evaluate.tious = (0.3, 0.4, 0.5, 0.6, 0.7)
    config.localize.outer_ratio = 0.15  # this and the next not for the whole KT-MGFN, which regresses
    config.localize.probability_weight = 1.0
    config.predict.min_score = 0.8  # of at most 2
    config.train.batch_size = 32
    config.train.learning_rate = 1e-3
    if system == "ecm":
        config.model.hidden = 256
        config.model.folds = 1  # with three, each sum holds but a third of a short action
        config.localize.min_probability = 0.05
        config.train.epochs = 36
        return config
    config.model.width = 64
    config.model.erase_threshold = 0.8
    config.model.normalised_fusion = False  # scaled to [0, 1], what the second stage has not found looks like an action
    config.model.predictor_width = 64
    config.data.clips_subset = ""  # of trimmed clips; "": the training actions, cut out
    config.model.anchors = (6.0, 9.0, 14.0, 21.0, 32.0, 48.0)  # 2.4 to 19 s
    config.oic.scaled = True  # for the raw sequences have no bounds
    if config.model.boundary:
        config.predict.min_score = 0.4  # of at most 1
    config.stages.source_epochs = 20
    config.stages.target_epochs = 50
    config.stages.boundary_epochs = 20
    config.stages.boundary_learning_rate = 0.01
    config.localize.min_probability = 0.1
    return config
