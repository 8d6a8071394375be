"""A small AFSD for tests: 2 classes, 3 channels at 10 fps, windows of 12.8 s; and two-stage systems that the
toy gives proposals.

python -m tal_jax.main --config=tests/tiny_config.py:toy --config.data.annotations=FILE
--config.data.features=FOLDER
"""

import ml_collections

from tal_jax.data.sets import sbhar
from tal_jax.systems import SYSTEMS
from tal_jax.systems.afsd.config import sequence_config
from tal_jax.systems.pgcn.config import pgcn_config
from tal_jax.systems.tcanet.config import tcanet_config
from tests.toy_system import TOY, TOY_SGD


def get_config(system="afsd"):
    """system: 'dw_afsd', 'afsd', 'pgcn', 'pgcn_dw', 'tcanet', or 'toy', 'toy_sgd', which are put into the
    table of systems here.
    """
    if system in ("pgcn", "pgcn_dw", "tcanet"):
        return two_stage_config(system)
    SYSTEMS.update(toy=TOY, toy_sgd=TOY_SGD)
    config = sequence_config(system)
    if system in ("toy", "toy_sgd"):
        config.toy = ml_collections.ConfigDict({"channels": 8})  # a section that nothing but the toy knows
    config.name = f"tiny_{system}"
    config.data = sbhar.data_config()
    config.data.update(name="folder", fps=10.0, samples_per_frame=1, num_channels=3)

    config.window.frames = 128
    config.window.train_stride_frames = 32
    config.window.test_stride_frames = 64
    config.augment.crop = 0.0
    config.model.channels = 32
    config.model.groups = 4
    config.backbone.channels = 8
    config.train.batch_size = 2
    config.train.learning_rate = 3e-3
    config.train.warmup_steps = 10
    config.parallel.max_devices = 1
    return config


def switch(section, config, **values):
    """Sets fields of a section of a config; those that it lacks are readings."""
    fields = {name: value for name, value in values.items() if name in config[section]}
    config[section].update(fields)
    config.readings += tuple(f"{name}={value}" for name, value in values.items() if name not in fields)


def two_stage_config(system):
    """P-GCN or TCANet, a few steps of it on the proposals of a few steps of the toy, which sees the same
    files.
    """
    config = tcanet_config() if system == "tcanet" else pgcn_config(system)
    config.name = f"tiny_{system}"
    config.first_stage = first = get_config("toy")
    first.train.epochs = 2
    config.data = first.data.copy_and_resolve_references()
    for field in ("annotations", "features"):
        first.data[field] = config.data.get_ref(field)
    config.evaluate.tious = (0.3, 0.5, 0.7)
    config.evaluate.batch_size = 1
    config.train.update(epochs=2, batch_size=2)
    config.parallel.max_devices = 1
    config.decode.proposals = 40
    if system != "tcanet":
        config.pools.repeats = 2
        config.model.hidden = 8
        return config
    config.window.update(
        snippets=128, train_stride_frames=64, test_stride_frames=64, proposals=16, min_action_sec=0.0
    )
    config.model.update(channels=8, groups=1, encoders=0, heads=2, local_heads=1, hidden=8, samples=(4, 8, 4))
    config.loss.iou_thresholds = (0.5,)  # one stage of refinement, most of what there is to compile
    config.decode.update(classes="proposals", confidence_stage=1)
    config.train.update(decay_epochs=(), warmup_steps=2)
    return config
