"""SBHAR: 12 activities and transitions in real recordings of a waist-worn phone. Times: two CPU cores.

    python -m tal_jax.main --config=configs/sbhar.py:VARIANT

    dw_afsd, afsd    DW-AFSD (without VARIANT too), AFSD: mAP 96.3 in 5 to 7 minutes; demo: 94 in 2
    actionformer, dw_actionformer    ActionFormer: 96 in 4 to 6 minutes; with mixer=max TemporalMaxer
    ecm, kt_mgfn     from labels of windows: mAP 46 to 58 in 1.5 minutes, 49 to 54 in 3 (row=simple: 58 to 60)
    tcanet, pgcn, pgcn_dw    on proposals of the demo: mAP 93 to 95 in 5 minutes, 75 to 79 in half a minute
row=: of an ablation, TABLE_4, ABLATION or ROWS in the config.py of ECM, KT-MGFN, P-GCN."""

from tal_jax.config import config_of
from tal_jax.data.sets import sbhar
from tal_jax.systems.actionformer.config import small_config, with_mixer
from tal_jax.systems.afsd.config import sequence_config
from tal_jax.systems.ecm.config import ecm_config
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config


def get_config(variant="dw_afsd"):
    """The config of a variant, see the head of this file."""
    systems = {afsd: "dw_afsd afsd demo", actionformer: "actionformer dw_actionformer"}
    systems |= {ecm: "ecm", kt_mgfn: "kt_mgfn", pgcn: "pgcn pgcn_dw", tcanet: "tcanet"}
    config = config_of(variant, {name: make for make, names in systems.items() for name in names.split()})
    config.evaluate.tious = (0.3, 0.4, 0.5, 0.6, 0.7)
    return config


def afsd(system):
    """DW-AFSD, AFSD, or 'demo', a short DW-AFSD. Of 292 windows of the training persons 6 hold no action."""
    config = sequence_config("dw_afsd" if system == "demo" else system)
    config.name, config.data = f"sbhar_{system}", sbhar.data_config()  # a frame is 0.2 s
    config.window.update(frames=512, train_stride_frames=256, test_stride_frames=256, background=0.0)
    config.augment.update(jitter_frames=128, scale=0.05, noise=0.02, rotation_deg=15.0)
    config.model.channels, config.backbone.channels, config.train.learning_rate = 128, 64, 2e-3
    config.loss.level_bounds = ((0, 10), (5, 20), (10, 40), (20, 80), (40, 160), (80, 512))
    if system == "dw_afsd":  # chosen on the training persons, docs/curriculum.md
        config.curriculum.update(weight_norm="mean", auxiliary="classification")
        config.readings = (*config.readings, "decode.final_score=times_quality", "auxiliary_positives=coarse")
    if system == "demo":  # twice the updates in the same time
        config.update(augment=dict(crop=0.3), train=dict(epochs=10, batch_size=4, learning_rate=1e-3))
    return config


def actionformer(system, mixer="attention"):
    """ActionFormer in windows of 102 s; mixer: 'attention', or 'max' for TemporalMaxer."""
    config = small_config(system)
    config.name, config.data = f"sbhar_{system}_{mixer}", sbhar.statistics_config(samples_per_frame=20)
    config.window.frames, config.train.batch_size, config.augment.noise = 256, 4, 0.1
    config.train.learning_rate = 5e-4 if mixer == "max" else 1e-3  # this, and what follows:
    if system == "dw_actionformer":  # chosen on the training persons, docs/curriculum.md
        config.curriculum.auxiliary, first_t = "none", 0 if mixer == "max" else 1
        config.readings = (*config.readings, f"first_epoch={first_t}", "decode.final_score=sqrt")
    return with_mixer(config, mixer)


def pgcn(system, row="full"):
    """P-GCN on the proposals of the demo."""
    config = on_proposals(pgcn_config(system, row), f"sbhar_{system}_{row}")
    config.model.update(hidden=128, dropout=0.0, branch_dropout=0.0)  # else too little of 48 channels is left
    config.train.update(learning_rate=0.02, epochs=20, decay_epochs=(8, 14, 18))
    config.pools.background_coverage, config.predict.min_score = 0.0, 3.0  # of p times exp(completeness)
    return config


def tcanet(system):
    """TCANet on the proposals of the demo, in windows of 102 s."""
    config = on_proposals(tcanet_config(), f"sbhar_{system}")
    config.window.update(snippets=512, train_stride_frames=256, test_stride_frames=256, proposals=32)
    config.window.min_action_sec, config.decode.classes = 0.0, "proposals"
    config.model.update(channels=64, hidden=64, samples=(8, 16, 8))  # a transition is a few seconds long
    config.train.update(learning_rate=1e-3, epochs=14, decay_epochs=(10,), warmup_steps=50)
    return config


def ecm(system, row="full"):
    """ECM on windows of 20 s; row: of its Table 4."""
    config = from_labels(ecm_config(row), f"sbhar_{system}_{row}", 50, 17)
    config.model.update(hidden=256, folds=1)  # with three folds, each sum holds but a third of a short action
    config.localize.min_probability, config.train.epochs, config.decode.nms_extra_sec = 0.05, 36, 0.0
    return config


def kt_mgfn(system, row="boundary"):
    """KT-MGFN on windows of 30 s, with the training actions cut out as clips; row: of its ablation."""
    config = from_labels(kt_mgfn_config(row), f"sbhar_{system}_{row}", 75, 25)
    config.model.update(width=64, erase_threshold=0.8, predictor_width=64)
    config.readings = ("normalised_fusion=False", "oic_scaled=True")  # why: docs/kt_mgfn.md
    config.data.clips_subset, config.model.anchors = "", (6.0, 9.0, 14.0, 21.0, 32.0, 48.0)  # 2.4 to 19 s
    config.localize.min_probability, config.predict.min_score = 0.1, 0.4 if config.model.boundary else 0.8
    config.stages.update(source_epochs=20, target_epochs=50, boundary_epochs=20, boundary_learning_rate=0.01)
    return config


def on_proposals(config, name):
    """The config with what P-GCN and TCANet share: the first stage and what they read."""
    config.name, config.first_stage, config.data = name, get_config("demo"), sbhar.statistics_config()
    config.evaluate.batch_size, config.decode.proposals = 1, 300
    return config


def from_labels(config, name, size, test_stride):
    """The config with what ECM and KT-MGFN share: frames of 2.6 s, 0.4 s apart, windows side by side."""
    config.name, config.data = name, sbhar.statistics_config(samples_per_frame=20, statistics_samples=128)
    config.window.update(frames=size, snippets=size, train_stride_frames=size, test_stride_frames=test_stride)
    config.localize.update(outer_ratio=0.15, probability_weight=1.0)  # the whole KT-MGFN does not read these
    config.decode.nms_tiou, config.predict.min_score = 0.3, 0.8  # actions do not overlap; of at most 2
    config.train.update(batch_size=32, learning_rate=1e-3)
    return config
