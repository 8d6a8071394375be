"""AFSD and DW-AFSD on SBHAR: 12 activities and postural transitions in real recordings of a waist-worn phone."""

from tal_jax.data import sbhar
from tal_jax.systems.afsd.config import afsd_config


def get_config(system="dw_afsd"):
    """system: 'dw_afsd' or 'afsd'."""
    config = afsd_config(system)
    config.name = f"sbhar_{system}"
    config.num_classes = 12
    config.data = sbhar.data_config()
    config.data.samples_per_frame = 10  # a frame is 0.2 s

    config.window.frames = 512
    config.window.train_stride = 256
    config.window.test_stride = 256
    config.augment.jitter = 128
    config.augment.scale = 0.05
    config.augment.noise = 0.02
    config.augment.rotation_deg = 15.0

    config.model.channels = 128
    config.model.backbone_width = 64
    config.model.distance_multipliers = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
    config.loss.contrastive_weight = 0.0
    # Short actions to fine levels, long ones to coarse levels, as AFSD does on ActivityNet (frames of the longer side).
    config.loss.level_bounds = ((0, 10), (5, 20), (10, 40), (20, 80), (40, 160), (80, 512))
    config.loss.quality_target_gradient = False  # with it, segments can shrink to nothing: an easy tIoU to predict
    config.train.epochs = 60
    config.train.batch_size = 8
    config.train.learning_rate = 1e-3
    config.train.schedule = "cosine"
    config.train.warmup_steps = 100
    config.train.weight_decay = 1e-5
    config.train.gradient_clip = 1.0
    config.train.ema_decay = 0.995
    return config
