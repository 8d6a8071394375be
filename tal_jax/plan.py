"""A plan for anybody's data: the fields of a config by rules, from a fingerprint of annotations and features.

A rule is a function of the fingerprint and of the config as earlier rules, or flags, have left it; that of
the batch asks the devices, too. It gives lines: a field, its value, the reason. A field that a flag names
keeps its value. RULES has their order.

RULES are for ActionFormer, on recordings whose actions have times, LINEAR_RULES for the linear probe;
WEAK_RULES for ECM, where labels alone are known.
"""

import math
from typing import NamedTuple

import numpy as np

from tal_jax.errors import DataError
from tal_jax.fingerprint import fingerprint
from tal_jax.ranges import largest
from tal_jax.runtime import distributed
from tal_jax.runtime.devices import memory_bytes
from tal_jax.runtime.parallel import make_parallel
from tal_jax.runtime_export import NUM_BANDS
from tal_jax.systems import SYSTEMS
from tal_jax.systems.ecm.config import TABLE_4, ecm_config

SHORT = 0.1  # the quantile of the lengths of actions that a cell must resolve
CELLS, FEWEST_CELLS = 8, 3  # of a short action: as a rule, and where the longest takes more than MOST_CELLS
MOST_CELLS = 1024
SPAN_CELLS, FEWEST_SAMPLES = 3.2, 4  # that the statistics of a cell describe; of a cell that has statistics
WEAK_SPAN_CELLS = 6.4
LONG = 10  # actions of middle length: a recording that lasts as long is standardised by itself
MOST_VALUES, FEWEST_SPAN = 4096, 16  # of a cell; samples whose statistics stand beside those of a cell
FEWEST_FRAMES, MOST_FRAMES = 32, 128  # of a window, where actions are short
CELLS_A_STEP, UPDATES = 1024, 1200  # of a batch; of a training
FEWEST_EPOCHS, MOST_EPOCHS, WARMUP = 12, 200, 1 / 8
WEAK_CELLS, FEWEST_SNIPPETS, MOST_SNIPPETS, MOST_CHANNELS = 50, 16, 200, 64
WEAK_BATCH, WEAK_UPDATES = 32, 900
MEMORY_SHARE = 0.5  # of a device, which the arrays of a batch may take
MOST_KEPT, MOST_CANDIDATES = 20, 40  # for each action of a recording: others may be much longer
FINEST_BOUND, FEWEST_LEVELS, MOST_LEVELS = 4, 3, 9


class Line(NamedTuple):
    """One line of a plan."""

    field: str
    value: object
    reason: str


def cells(seen, config):
    """How long a cell lasts: short actions take CELLS of them, unless the longest then takes MOST_CELLS."""
    short, longest = seen.quantile_sec(SHORT), seen.quantile_sec(1)
    cell_sec = max(short / CELLS, min(short / FEWEST_CELLS, longest / MOST_CELLS))
    samples = max(1, min(round(cell_sec * seen.rows_a_sec), seen.shortest_rows))
    why = f"the shortest tenth of the actions lasts up to {short:.3g} s, the longest {longest:.3g} s"
    takes = short * seen.rows_a_sec / samples
    yield "data.samples_per_frame", samples, f"{why}: a short one takes {takes:.3g} cells of {samples} rows"


def inputs(seen, config):
    """The input of the network: statistics of the samples of each cell, these samples, or both."""
    samples = config.data.samples_per_frame
    span = round((SPAN_CELLS if len(seen.lengths_sec) else WEAK_SPAN_CELLS) * samples)
    few = samples < FEWEST_SAMPLES
    if few:  # which say little by themselves: how fast a channel changes is in the samples around
        span, described = FEWEST_SPAN, seen.channels <= MOST_CHANNELS
    else:
        described = seen.channels * _statistics_each(span) <= MOST_VALUES
    beside = few and described
    reason = f"{span} samples around a cell: mean, variance and bands of {seen.channels} channels"
    if not described:
        reason = f"a cell has its {samples} rows of {seen.channels} values side by side"
    yield "data.statistics_samples", span if described else 0, reason
    why = f"a cell has {samples} samples, which the network sees beside their statistics"
    yield "data.samples_beside", beside, why if beside else "one of the two is enough"
    yield "data.fill_missing", True, _of_missing(seen)
    note = f"; {seen.still} of {seen.channels} channels do not vary" if seen.still else ""
    yield "data.channel_offsets", seen.offsets, f"the means of {seen.channels} channels in training{note}"
    yield "data.channel_scales", seen.scales, "their deviations"
    typical = seen.quantile_sec(0.5) if len(seen.lengths_sec) else np.inf
    whole = bool(described and seen.recording_sec >= LONG * typical)
    why = f"recordings last {LONG} actions or more: their means and deviations are of persons and devices"
    yield "data.standardised", whole, why if whole else "a recording's own mean may tell its action"
    yield "augment.noise", 0.1, "a tenth of a channel's deviation"


def _of_missing(seen):
    """The reason of `data.fill_missing`: how many values are NaN, and which channels have no value."""
    if not seen.missing:
        return "should a value be NaN, it is put on the line between its neighbours; none was"
    lost = [f"channel {channel} in {count}" for channel, count in seen.lost.items()]
    of_lost = f"; lost all over recordings: {', '.join(lost[:5])}" if lost else ""
    return f"{seen.missing:.2g} of the values are NaN, put on the line between their neighbours{of_lost}"


def windows(seen, config):
    """Cells of a training window: a power of two, twice the longest action; a short recording fits, too."""
    cell_sec = config.data.samples_per_frame / seen.rows_a_sec
    longest = seen.quantile_sec(1) / cell_sec
    least = min(max(_power_of_two(seen.recording_sec / cell_sec), FEWEST_FRAMES), MOST_FRAMES)
    frames = min(max(least, _power_of_two(2 * longest)), 4 * MOST_CELLS)
    yield "window.frames", frames, f"{frames * cell_sec:.3g} s; the longest action takes {longest:.0f} cells"


def levels(seen, config):
    """Levels of the pyramid: each finds actions of twice the length of the one below."""
    longest = seen.quantile_sec(1) * seen.rows_a_sec / config.data.samples_per_frame
    number = math.ceil(math.log2(max(longest, 1) / FINEST_BOUND)) + 1
    number = min(max(number, FEWEST_LEVELS), MOST_LEVELS)
    yield "backbone.branch_blocks", number - 1, f"{number} levels, of strides 1 to {2 ** (number - 1)} cells"
    number = config.backbone.branch_blocks + 1
    bounds = [0, *(FINEST_BOUND * 2**level for level in range(number - 1)), 10000]
    pairs = tuple(zip(bounds[:-1], bounds[1:]))
    yield "loss.level_bounds", pairs, "of the longer distance from a point to start or end, in cells"


def schedule(seen, config):
    """Batch and epochs: about UPDATES updates of CELLS_A_STEP cells."""
    frames = max(1, config.window.frames)
    cell_sec = config.data.samples_per_frame / seen.rows_a_sec
    number = max(seen.seconds / cell_sec / frames, seen.recordings[config.data.train_subset])  # of windows
    yield from _batches(min(max(2, CELLS_A_STEP // frames), math.ceil(number)), frames, seen, config)
    steps = math.ceil(number / _of_update(config))
    epochs = min(max(FEWEST_EPOCHS, math.ceil(UPDATES / steps)), MOST_EPOCHS)
    yield (
        "train.epochs",
        epochs,
        f"{seen.seconds / 3600:.2g} hours are about {steps} steps, so {epochs * steps}",
    )


def warmup(seen, config):
    """Epochs over which the learning rate rises."""
    del seen
    epochs = max(1, round(WARMUP * config.train.epochs))
    yield "train.warmup_epochs", min(epochs, config.train.epochs - 1), "an eighth of the epochs"


def detections(seen, config):
    """How many detections of a recording are kept, and candidates of a level before suppression."""
    reason = f"a training recording has up to {seen.most_actions} action{'s' * (seen.most_actions != 1)}"
    decode = config.decode
    yield "decode.max_per_recording", max(decode.max_per_recording, MOST_KEPT * seen.most_actions), reason
    yield "decode.max_per_level", max(decode.max_per_level, MOST_CANDIDATES * seen.most_actions), reason


def weak_cells(seen, config):
    """Cells of a recording without times: WEAK_CELLS of signals, all rows of features up to MOST_SNIPPETS."""
    samples = max(1, round(seen.rows_a_sec * seen.recording_sec / WEAK_CELLS))
    samples = min(samples, int(largest("data.samples_per_frame")))
    samples = samples if samples >= FEWEST_SAMPLES and seen.channels <= MOST_CHANNELS else 1
    lasts = f"half of the recordings last up to {seen.recording_sec:.3g} s"
    yield "data.samples_per_frame", samples, f"{lasts}; labels have no times, which a cell could resolve"
    longest = max(1, seen.longest_rows // config.data.samples_per_frame)
    frames = longest + 1  # a file may be a little longer than annotated
    frames = frames if frames <= largest("window.frames") else 0  # 0: a window is a whole recording
    yield "window.frames", frames, "the longest training recording; a longer one is seen in parts"
    stride = min(max(1, longest // 3), int(largest("window.test_stride_frames")))
    yield "window.test_stride_frames", stride, "from part to part"
    snippets = min(max(longest, FEWEST_SNIPPETS), MOST_SNIPPETS)
    yield "window.snippets", snippets, "cells that stand for a recording, or for a part"


def weak_network(seen, config):
    """ECM on feature vectors, its first stream alone on signals; what was chosen on persons of SBHAR."""
    of_sbhar, fields = "best on SBHAR in pieces of 30 s", {}
    if config.data.statistics_samples:
        yield "readings", ("decode.activations=softmax",), f"classes exclude each other, {of_sbhar}"
        fields |= TABLE_4["pre"]
    fields |= {"model.hidden": 256, "model.folds": 1, "train.learning_rate": 1e-3}
    fields |= {"localize.min_probability": 0.05, "localize.outer_ratio": 0.15}
    fields |= {"localize.probability_weight": 1.0, "decode.nms_tiou": 0.3, "decode.nms_extra_sec": 0.0}
    for field, value in fields.items():
        yield field, value, of_sbhar
    number = seen.recordings[config.data.train_subset]
    yield from _batches(min(WEAK_BATCH, number), config.window.snippets, seen, config)
    steps = math.ceil(number / _of_update(config))
    epochs = min(max(FEWEST_EPOCHS, math.ceil(WEAK_UPDATES / steps)), MOST_EPOCHS)
    yield "train.epochs", epochs, f"{steps} steps each, {epochs * steps} in all"


def linear_windows(seen, config):
    """Windows of the length of ActionFormer's.

    Those of training overlap by half: each is to hold a whole action, and an action of half a window may lie
    on the border of two. Those of testing need not overlap, as a linear probe sees each cell by itself.
    """
    yield from windows(seen, config)
    frames = config.window.frames
    yield "window.train_stride_frames", max(frames // 2, 1), "half a window: actions as long lie whole in one"
    yield "window.test_stride_frames", frames, "each cell is seen by itself"
    yield "window.background", 0.3, "windows without an action, to learn what none looks like"


RULES = (cells, inputs, windows, levels, schedule, warmup, detections)
LINEAR_RULES = (cells, inputs, linear_windows, schedule)
WEAK_RULES = (weak_cells, inputs, weak_network)


def make_plan(config, said):
    """The lines of the plan of a config, and the config that has them.

    Args:
      config: any config of ActionFormer, or of the linear probe, on a folder; it stays as it is.
      said: names of the fields that flags name, see `command_line.said_fields`.

    Returns:
      (config, list of Line).
    """
    seen, config = fingerprint(config), config.copy_and_resolve_references()
    if not len(seen.lengths_sec):
        config = of_labels(config, said)
    return config, lines_of(seen, config, said)


def of_labels(config, said):
    """The config of ECM, which learns from labels without times, on the data of a planned config.

    said: see `make_plan`. Raises DataError for one that ECM lacks.
    """
    weak = ecm_config()
    weak.name, weak.data, weak.extract, weak.plan = config.name, config.data, config.extract, config.plan
    for field in said:
        try:
            value_of(weak, field)
        except (AttributeError, KeyError) as error:
            why = "labels have no times, so ECM learns from them"
            raise DataError(f"config.{field} is no field of ECM; {why}. Leave it out.") from error
        weak.update_from_flattened_dict({field: value_of(config, field)})
    return weak


def lines_of(seen, config, said):
    """The Lines of the rules, whose values are put into the config.

    seen: Fingerprint; said: see `make_plan`.
    """
    timed, (fewest, most) = len(seen.lengths_sec) > 0, (min(seen.of_classes), max(seen.of_classes))
    what = "actions have times, and some overlap" if seen.overlap else "actions have times"
    counts = (
        f"{len(seen.of_classes)} classes of {fewest} to {most}" if fewest < most else f"{most} of each class"
    )
    lines = [Line("system", config.system, f"{what if timed else 'labels have no times'}; {counts}")]
    rules = LINEAR_RULES if config.system == "linear" else RULES
    for rule in rules if timed else WEAK_RULES:
        for line in rule(seen, config):
            if not is_planned(line[0], said):
                continue
            if line[0] in said:
                line = line[0], value_of(config, line[0]), "set by hand"
            config.update_from_flattened_dict({line[0]: line[1]})
            lines.append(Line(*line))
    return lines


def value_of(config, field):
    """The value of a field such as "train.epochs"."""
    for part in field.split("."):
        config = config[part]
    return config


def _power_of_two(number):
    """The least power of two that is not below a number."""
    return 2 ** math.ceil(math.log2(max(number, 1)))


def _statistics_each(span):
    """At most how many numbers describe a channel in a cell: the mean, the variance, and bands of the `span`
    samples around it.
    """
    return 2 + min(NUM_BANDS, span // 2)


def _batches(number, cells_each, seen, config):
    """The Lines of the batch and of `train.accumulate_steps`, where that is above 1.

    One batch makes an update if its arrays fit into MEMORY_SHARE of a device's memory. If not, the fewest
    batches that fit make it. A number of batches that is set by hand stays. All processes must call it.

    Args:
      number: windows that an update should have.
      cells_each: cells of a window.
      seen: Fingerprint.
      config: as earlier rules have left it.
    """
    parallel = make_parallel(config.parallel.impl, config.parallel.max_devices)
    devices, by_hand = parallel.num_devices, config.train.accumulate_steps
    memory = min(distributed.gather(memory_bytes(devices // distributed.count())))
    each = window_bytes(cells_each, seen, config)
    fitting = max(1, int(MEMORY_SHARE * memory / each)) * devices
    parts = by_hand if by_hand > 1 else math.ceil(number / fitting)
    batch = math.ceil(min(number / parts, fitting) / devices) * devices  # which the devices share evenly
    windows = f"{batch} window{'s' * (batch > 1)} of {cells_each} cells"
    takes = f"about {in_bytes(batch // devices * each)} of a device's {in_bytes(memory)}"
    too_much = "; a window is too long for it" * (each > memory)
    yield "train.batch_size", batch, f"{windows}, {takes}{too_much}"
    if parts > 1:
        yield "train.accumulate_steps", parts, f"{batch * parts} windows at once take too much memory"


def window_bytes(cells, seen, config):
    """About how many bytes a training step needs for a window of so many cells, beside the parameters.

    They are 4 for each number that the system keeps of a cell (`System.numbers_of_cell`). The inputs of all
    batches of an update lie on the device together, which is left out.
    """
    data = config.data
    span, side_by_side = data.statistics_samples, data.samples_beside or not data.statistics_samples
    statistics = _statistics_each(span) if span else 0
    channels = seen.channels * (statistics + side_by_side * data.samples_per_frame)
    return 4 * cells * SYSTEMS[config.system].numbers_of_cell(config, channels, len(seen.of_classes))


def in_bytes(number):
    """A number of bytes in words: "73 MiB", "23.5 GiB"."""
    return f"{number / 2**30:,.1f} GiB" if number >= 2**30 else f"{math.ceil(number / 2**20)} MiB"


def is_planned(field, said):
    """Whether a plan has a line of a field: not how many batches an update has if the batch is set by hand.

    said: see `make_plan`.
    """
    return field != "train.accumulate_steps" or field in said or "train.batch_size" not in said


def _of_update(config):
    """Windows of an update."""
    return config.train.batch_size * config.train.accumulate_steps
