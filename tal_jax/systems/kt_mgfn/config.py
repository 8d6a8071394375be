"""Every field of KT-MGFN beside those of `base_config`, the rows of its ablation, and its training stages.

"[A]", "[E]": the report is silent, the number is that of AutoLoc's or of ACoL's code. "[none]": the report is
silent and the number is ours. What has no mark is in the report.
"""

import functools

import ml_collections

from tal_jax import readings
from tal_jax.config import base_config, weak_fields
from tal_jax.errors import DataError

# kt_mgfn report, Table 2: its rows, each adding one part to the row before -> fields of config.model
ABLATION = {
    "simple": dict(dilations=(1,), cascade=False, transfer=False, boundary=False),
    "multi_dilated": dict(dilations=(1, 2, 3, 5), cascade=False, transfer=False, boundary=False),
    "cascade": dict(dilations=(1, 2, 3, 5), cascade=True, transfer=False, boundary=False),
    "transfer": dict(dilations=(1, 2, 3, 5), cascade=True, transfer=True, boundary=False),
    "boundary": dict(dilations=(1, 2, 3, 5), cascade=True, transfer=True, boundary=True),
}
# Open points (tal_jax/readings.py), the default first.
READINGS = {
    "mmd_kernel": ("gaussians", "gaussian", "linear"),  # of the discrepancy of clips and recordings
    # each stage's activations are scaled to [0, 1] before their maximum, ACoL's code; False: raw
    "normalised_fusion": (True, False),
    # OIC is of activations scaled to [0, 1] over time, for where normalised_fusion is False
    "oic_scaled": (False, True),
}
reading = functools.partial(readings.reading, points=READINGS)  # (config, name)
CHOICES = {
    "train.schedule": ("constant", "cosine"),
    "window.snippets": "[1, 100000]",
}


def training_stages(config):
    """[(part of the parameter tree, epochs)] in the order in which the parts are trained, each frozen after
    its turn.
    """
    stages, model = config.stages, config.model
    plan = [
        ("source", stages.source_epochs, model.transfer),
        ("target", stages.target_epochs, True),
        ("boundary", stages.boundary_epochs, model.boundary),
    ]
    return [(part, epochs) for part, epochs, present in plan if present]


def set_epochs(config):
    """Makes config.train.epochs the sum of the stages that `config.model` has, whatever they are set to
    later. Returns it.
    """
    stages, model = config.stages, config.model
    of_source = stages.get_ref("source_epochs") * model.get_ref("transfer")
    of_boundary = stages.get_ref("boundary_epochs") * model.get_ref("boundary")
    config.train.epochs = of_source + stages.get_ref("target_epochs") + of_boundary
    return config


def require_model(config):
    """Raises DataError for the first field of the network whose value cannot be."""
    model = config.model
    if model.dilations[0] != 1 or any(dilation < 2 for dilation in model.dilations[1:]):
        raise DataError(
            f"config.model.dilations is {tuple(model.dilations)}; it must be 1, then any number of larger "
            f"ones."
        )


def require_valid(config):
    """Raises DataError for the first field, of the network or of its training, whose value cannot be."""
    require_model(config)
    stages = training_stages(config)
    for part, epochs in stages:
        if epochs < 1:
            raise DataError(f"config.stages.{part}_epochs is {epochs}; it must be at least 1.")
    total = sum(epochs for _, epochs in stages)
    if config.train.epochs != total:
        fields = ", ".join(f"config.stages.{part}_epochs ({epochs})" for part, epochs in stages)
        raise DataError(
            f"config.train.epochs is {config.train.epochs}, but it is the sum of {fields}; set these instead."
        )


def kt_mgfn_config(row="boundary"):
    """A config of KT-MGFN on HACS but for its `name` and `data`. row: of `ABLATION`; the last row is the
    whole system.
    """
    if row not in ABLATION:
        raise DataError(f"kt_mgfn has no row '{row}'; its rows are {', '.join(ABLATION)}.")
    config = base_config("kt_mgfn")
    weak_fields(config)

    config.window.snippets = 100  # [none]
    config.window.sampling = "linear"  # [none]

    config.model = model = ml_collections.ConfigDict()
    model.dilations = (1, 2, 3, 5)  # of the branches of a stage
    model.cascade = True  # a second stage, from which the first one hides what it has found
    model.transfer = True  # help from trimmed clips
    model.boundary = True  # segments are regressed; False: runs of high activation
    model.update(ABLATION[row])
    model.width = 256  # channels of base and branches [none]
    # of the normalised activation, from which a snippet is hidden from the second stage [E]
    model.erase_threshold = 0.6
    model.predictor_width = 128
    # snippets, for T = 100 [none]; THUMOS: 1, 2, 4, 8, 16, 32 [A]
    model.anchors = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)

    config.loss = ml_collections.ConfigDict()
    config.loss.transfer_weight = 1.0  # lambda [none]

    config.stages = stages = ml_collections.ConfigDict()
    stages.source_epochs = 30  # classification of trimmed clips, with transfer [none]
    stages.target_epochs = 30  # classification of recordings [none]
    # in batches of 16 as many steps as AutoLoc's, one pass of single recordings [A]
    stages.boundary_epochs = 16
    stages.boundary_learning_rate = 1e-3  # SGD without momentum [A]

    train = config.train
    del train.decay_epochs  # of the schedule 'steps', which stages do not have
    train.batch_size = 16  # [none]
    train.learning_rate = 1e-4  # of classification, by Adam [none]
    train.weight_decay = 5e-4  # of classification [none]

    config.localize = localize = ml_collections.ConfigDict()
    localize.min_probability = 0.5  # of a class to be localized; none above: the best one [none]
    # Without boundary regression the activations are thresholded, as ECM does on ActivityNet [none]:
    localize.thresholds = tuple(i * 0.025 for i in range(7))
    localize.outer_ratio = 0.5
    localize.probability_weight = 0.45

    config.decode.nms_tiou = 0.4

    config.evaluate.tious = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    return set_epochs(config)
