"""What the fields of a config may be: one table, checked once by `require_fields`, before anything is read or
computed.

A pattern of field names goes with an interval in the notation of mathematics, with a tuple of choices, with
NAMES or with COLUMNS. In a tuple, each entry is checked. Large upper ends only catch slips of the hand: no
run needs so much.
"""

import fnmatch
import re

from tal_jax.errors import DataError
from tal_jax.evaluation.detection import OTHER_RECORDINGS, PROTOCOLS
from tal_jax.evaluation.recordings import MISSING
from tal_jax.readings import require_readings

NAMES = "names"  # texts of any content, but not empty ones
COLUMNS = "columns"  # such texts, or whole numbers from 1
NOT_EMPTY = (
    "evaluate.tious",
    "localize.thresholds",
    "loss.iou_thresholds",
    "model.dilations",
    "model.anchors",
)
WHOLE = (  # tuples of whole numbers
    "backbone.input_channels",
    "backbone.projected_channels",
    "backbone.windows",
    "evaluate.recall_at",
    "model.dilations",
    "model.empty_classes",
    "model.samples",
    "train.decay_epochs",
)
PAIRS = ("loss.level_bounds",)  # tuples of pairs of numbers

# The first pattern that fits counts. What one system alone restricts is in the CHOICES of its config.py.
RANGES = {
    "seed": "[0, 2147483647]",
    "readings": NAMES,
    "classes": NAMES,
    "plan.minutes": "[0, 100000]",
    "window.sampling": ("middle", "published", "linear"),
    "window.first_frame": (0, 1),
    "window.frames": "[0, 100000]",
    "window.snippets": "[0, 100000]",
    "window.*_stride_frames": "[1, 1000000]",
    "window.proposals": "[1, 100000]",
    "window.background": "[0, 1)",
    "window.crop": "(0, 1]",
    "window.min_inside": "(0, 1]",
    "window.draws": "[0, 10000]",
    "window.min_*_sec": "[0, 1000000]",
    "augment.jitter_frames": "[0, 1000000]",
    "augment.scale": "[0, 10]",
    "augment.noise": "[0, 1000000]",
    "augment.rotation_deg": "[0, 180]",
    "augment.*": "[0, 1]",
    "train.schedule": ("constant", "cosine", "steps"),
    "train.epochs": "[1, 1000000]",
    "train.batch_size": "[1, 1000000]",
    "train.accumulate_steps": "[1, 10000]",
    "train.learning_rate": "(0, 1000]",
    "train.backbone_learning_rate_factor": "[0, 1000]",
    "train.decay_epochs": "(0, 1000000]",
    "train.warmup_steps": "[0, 100000000]",
    "train.warmup_epochs": "[0, 1000000]",
    "train.weight_decay": "[0, 1000]",
    "train.gradient_clip": "[0, 1000000]",
    "train.ema_decay": "[0, 1)",
    "train.log_every_steps": "[1, 1000000000]",
    "train.save_every_steps": "[1, 1000000000]",
    "train.evaluate_every_epochs": "[0, 1000000]",
    "stages.boundary_learning_rate": "(0, 1000]",
    "stages.*_epochs": "[0, 1000000]",
    "decode.*nms_tiou": "(0, 1]",
    "decode.nms_extra_sec": "[0, 1000000]",
    "decode.nms_sigma": "(0, 1000]",
    "decode.nms_floor": "[0, 1]",
    "decode.min_score": "[0, 1000000]",
    "decode.smoothing": "[1, 10000]",
    "decode.background_logit": "[-1000, 1000]",
    "decode.min_frames": "[0, 1000000]",
    "decode.voting_tiou": "[0, 1]",
    "decode.max_*": "[1, 10000000]",
    "decode.class_sharpness": "[0, 1000]",
    "decode.fusion_weights": "[0, 1000000]",
    "decode.proposals": "[1, 1000000]",
    "decode.keep": "[1, 1000000]",
    "decode.*_classes": "[1, 100000]",
    "decode.confidence_stage": "[1, 100]",
    "evaluate.protocol": tuple(PROTOCOLS),
    "evaluate.missing": MISSING,
    "evaluate.other_recordings": OTHER_RECORDINGS,
    "evaluate.checkpoint": ("latest", "best"),
    "evaluate.batch_size": "[1, 100000]",
    "evaluate.tious": "(0, 1]",
    "evaluate.devkit_keep": "(0, 1]",
    "evaluate.recall_at": "[1, 100000]",
    "evaluate.classes_per_recording": "[1, 100000]",
    "evaluate.recording_score_power": "(0, 10]",
    "extract.weights": NAMES,
    "propose.most": "[1, 1000000]",
    "propose.nms_tiou": "(0, 1]",
    "predict.min_score": "[0, 1000000]",
    "parallel.max_devices": "[0, 1000000]",
    "data.left_out": NAMES,
    "data.ignored_labels": NAMES,
    "data.csv_columns": COLUMNS,
    "data.csv_skip_lines": "[-1, 1000000]",
    "data.duplicate_sec": "[0, 1000]",
    "data.fps": "[0, 1000000]",
    "data.stride_frames": "[0, 1000000]",
    "data.snippet_frames": "[1, 1000000]",
    "data.samples_per_frame": "[1, 100000]",
    "data.statistics_samples": "[0, 1000000]",
    "data.channel_offsets": "[-1e30, 1e30]",
    "data.channel_scales": "[1e-30, 1e30]",
    "data.num_channels": "[0, 10000000]",
    "data.*_pixels": "[1, 10000]",
    "data.task": ("verb", "noun"),
    "data.train_padding": "[0, 255]",
    "curriculum.*alpha*": "[0, 1]",
    "loss.*_weight": "[0, 1000000]",
    "loss.centre_radius": "[0, 1000]",
    "loss.smoothing": "[0, 1)",
    "loss.normaliser": "(0, 1000000]",
    "loss.overlap_power": "[0, 100]",
    "loss.focal_alpha": "[0, 1]",
    "loss.focal_gamma": "[0, 100]",
    "loss.*iou*": "[0, 1]",
    "loss.level_bounds": "[0, 1000000]",
    "loss.hard_negative_share": "[0, 1]",
    "localize.min_probability": "[0, 1]",
    "localize.thresholds": "[0, 1]",
    "localize.*": "[0, 1000]",
    "pools.*_tiou": "[0, 1]",
    "pools.incomplete_overlap": "[0, 1]",
    "pools.background_coverage": "[0, 1]",
    "pools.repeats": "[1, 1000000]",
    "pools.foreground": "[1, 100000]",
    "pools.*": "[0, 100000]",
    "*.*dropout": "[0, 1)",
    "backbone.drop_path": "[0, 1)",
    "backbone.windows": "[0, 100000]",
    "backbone.stem_blocks": "[0, 100]",
    "backbone.*_layers": "[1, 100]",
    "backbone.branch_blocks": "[1, 20]",
    "backbone.*_channels": "[1, 1000000]",
    "backbone.heads": "[1, 10000]",
    "model.empty_classes": "[0, 100000]",
    "model.top_k_ratio": "(0, 1]",
    "backbone.channels": "[1, 100000]",
    "backbone.channel_factor": "(0, 100000]",
    "graph.contextual": "[0, 100000]",
    "graph.surrounding": "[0, 100000]",
    "model.erase_threshold": "[0, 1]",
    "model.anchors": "(0, 100000]",
    "model.distance_multipliers": "(0, 100000]",
    "model.encoders": "[0, 1000]",
    "model.local_heads": "[0, 100000]",
    "model.*": "[1, 100000]",
}


def require_fields(config, choices=None, readings=None):
    """Raises DataError for the first field of a config whose value cannot be.

    Args:
      config: any config; its `first_stage` is a config of its own and is not looked at.
      choices: {field: its choices}, of one system; they go before RANGES.
      readings: {name of an open point: its values}, of one system; None: they are not checked.
    """
    for field, value in leaves(config):
        allowed = (choices or {}).get(field) or allowed_of(field)
        if isinstance(value, tuple) and not value and field in NOT_EMPTY:
            raise DataError(f"config.{field} is empty; it must have at least one entry.")
        if allowed is None or isinstance(value, (bool, str)) and isinstance(allowed, str):
            # a ConfigDict keeps the types: what is a word or a switch is no number of a pattern with a *
            continue
        several = isinstance(value, (tuple, list))
        if several and field in PAIRS:
            if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in value):
                raise DataError(f"config.{field} is {value!s:.200}; each of its entries must be two numbers.")
            entries = [entry for pair in value for entry in pair]
        else:
            entries = value if several else [value]
        for entry in entries:
            if not _is_allowed(entry, allowed) or field in WHOLE and not isinstance(entry, int):
                raise DataError(_sentence(field, value, entry, allowed))
    if readings is not None:
        require_readings(config, readings)


def allowed_of(field):
    """The interval, the choices, NAMES or COLUMNS of a field such as "train.epochs"; None for one that may be
    anything.
    """
    return next((allowed for pattern, allowed in RANGES.items() if fnmatch.fnmatchcase(field, pattern)), None)


def largest(field):
    """The upper end of the interval of a field such as "window.frames"."""
    return _ends(allowed_of(field))[1][0]


def leaves(config, prefix=""):
    """Yields ("section.field", value) of all fields of a config but those of a first stage."""
    for name in sorted(config):
        value = config[name]
        if name == "first_stage":
            continue
        if hasattr(value, "items"):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_allowed(value, allowed):
    if allowed == COLUMNS and isinstance(value, int) and not isinstance(value, bool):
        return value >= 1
    if allowed in (NAMES, COLUMNS):
        return isinstance(value, str) and bool(value.strip())
    if isinstance(allowed, tuple):
        return value in allowed
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    (low, above), (high, below) = _ends(allowed)
    return (low < value if above else low <= value) and (value < high if below else value <= high)


def _ends(interval):
    """Both ends of an interval, and whether they are left out: "(0, 1]" -> ((0.0, True), (1.0, False))."""
    left, low, high, right = re.fullmatch(r"([\[(])(\S+), (\S+)([\])])", interval).groups()
    return (float(low), left == "("), (float(high), right == ")")


def _sentence(field, value, entry, allowed):
    """The sentence that refuses an entry of a field's value, and says what it may be."""
    several = isinstance(value, (tuple, list))
    shown = f"'{value:.200}'" if isinstance(value, str) else f"{tuple(value) if several else value!s:.200}"
    if allowed == NAMES:
        quotes = "Put those that look like numbers into quotes: '(\"12\",)'."
        return f"config.{field} has {entry!r:.200}; it must be names. {quotes}"
    if allowed == COLUMNS:
        return f"config.{field} has {entry!r:.200}; it must be names of columns, or their numbers from 1."
    if isinstance(allowed, tuple) and several:
        return f"config.{field} names {entry!r:.200}; it may name {', '.join(map(str, allowed))}."
    if isinstance(allowed, tuple):
        words = (
            f"one of {', '.join(allowed)}" if isinstance(allowed[0], str) else " or ".join(map(str, allowed))
        )
        return f"config.{field} is {shown}; it must be {words}."
    who = f"each of its {'whole ' if field in WHOLE else ''}numbers" if several else "it"
    return f"config.{field} is {shown}; {who} must be {_words(entry, allowed)}."


def _words(value, interval):
    """An interval in words: "(0, 1]" -> "above 0 and at most 1". A large upper end is said only where the
    value is beyond it.
    """
    (low, above), (high, below) = _ends(interval)
    least = f"{'above' if above else 'at least'} {low:g}"
    most = f"{'below' if below else 'at most'} {high:.10g}"
    if high >= 1000:
        return most if isinstance(value, (int, float)) and value > high else least
    return f"{least} and {most}" if above or below else f"from {low:g} to {high:g}"
