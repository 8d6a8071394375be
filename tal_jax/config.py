"""The fields that every config has, whatever its system; `config.data` is in tal_jax/data/features.py, their ranges in ranges.py."""

import ast
import os
import pathlib
import re

import ml_collections
from absl import flags
from ml_collections import config_flags
from ml_collections.config_flags import tuple_parser

from tal_jax.errors import DataError, sentence_of


def base_config(system):
    """All shared sections but `name` and `data`, with the values of AFSD on THUMOS14. system: a name of systems.SYSTEMS."""
    config = ml_collections.ConfigDict()
    config.system = system
    config.seed = 2020

    config.window = ml_collections.ConfigDict()
    config.window.frames = 256  # L, the unit of all distances is a frame; weakly supervised systems: 0, the whole recording
    config.window.train_stride_frames = 30
    config.window.test_stride_frames = 128
    # Share of AFSD's training windows that hold no action, where there are such windows; below 1.
    config.window.background = 0.0
    config.window.first_frame = 0  # what the first frame of a window is called in its labels; the published loader says 1

    config.window.snippets = 0  # T: so many snippets stand for the features of a window; AFSD: 0, the features themselves
    # How: 'middle', one is taken of each of T equal parts, in its middle, in training anywhere in it;
    # 'published', at its left edge, which places all that is found too late; 'linear', the features are
    # rescaled.
    config.window.sampling = "middle"

    config.augment = ml_collections.ConfigDict()
    config.augment.jitter_frames = 0  # training windows move by up to so many frames; not those of weakly supervised systems
    config.augment.crop = 0.0  # probability that a training window of AFSD is cut to a part that holds a whole action
    config.augment.scale = 0.0
    config.augment.noise = 0.0
    config.augment.rotation_deg = 0.0  # only where channels are (x, y, z) triples
    config.augment.flip = 0.0  # probability of a mirrored clip, of frames only

    config.train = train = ml_collections.ConfigDict()
    train.epochs = 16
    train.batch_size = 1  # over all devices; of accumulate_steps such batches one update is made
    train.learning_rate = 1e-5
    train.backbone_weights = ""  # .npz that tal_jax.convert wrote, for the backbone to start from; "": random
    train.backbone_learning_rate_factor = 1.0  # the backbone learns with so many times the learning rate; ActivityNet: 0.1
    train.schedule = "constant"  # or 'cosine', 'steps': a tenth after each of decay_epochs
    train.decay_epochs = ()  # above 0; one behind the end of the run has no effect
    train.warmup_steps = 0  # updates; a run of fewer ones never has the full rate
    train.weight_decay = 1e-3  # L2, added to the gradient
    train.gradient_clip = 0.0  # largest global norm; 0 = off
    train.ema_decay = 0.0  # 0 = off
    # So many batches make one step, which is one update: that of one batch of all their examples, in about the memory
    # of one of them (docs/architecture.md).
    train.accumulate_steps = 1
    train.mixed_precision = False  # bfloat16 computation; parameters and losses stay float32
    train.loader_threads = 2
    train.log_every_steps = 20
    train.save_every_steps = 500
    train.keep_checkpoints = 2  # of the latest; the best one, by mAP on the test subset, is kept beside them
    train.evaluate_every_epochs = 0  # 0: only at the end

    config.decode = decode = ml_collections.ConfigDict()
    decode.min_score = 0.01  # ActivityNet: 1e-9; this and the next not for weakly supervised systems, which keep all they find
    decode.max_per_window = 2000  # candidates (location, class) kept of a window
    decode.nms = "soft"  # or 'hard': candidates that overlap a better one by nms_tiou are left out
    decode.nms_tiou = 0.5
    decode.nms_extra_sec = 0.0  # of 'hard': added to lengths and overlaps
    decode.nms_sigma = 0.5  # of 'soft', as the next four; ActivityNet: 0.85
    decode.nms_floor = 1e-3  # ActivityNet: 1e-9
    decode.nms_top_k = 5000
    decode.keep_last = True  # False: as published, the last candidate of a class is never kept

    config.evaluate = ml_collections.ConfigDict()
    config.evaluate.batch_size = 8
    config.evaluate.protocol = "activitynet"  # or 'thumos14', the official devkit
    config.evaluate.tious = (0.3, 0.4, 0.5, 0.6, 0.7)
    # Of 'thumos14': of detections that overlap by this tIoU or more, the best alone is scored; 1: all are, as by the devkit.
    config.evaluate.devkit_keep = 1.0
    # The next two are also of predict; the first is of propose too.
    config.evaluate.second_workdir = ""  # of a run on the other stream, RGB or flow, to be fused with this one
    config.evaluate.recording_scores = ""  # file with class scores of whole recordings; for class-agnostic data, P-GCN, TCANet
    config.evaluate.left_out = ()  # recordings not to score
    config.evaluate.missing = "missed"  # what test recordings without detections are; or 'left out'
    config.evaluate.other_recordings = "ignored"  # or 'false positives': detections where no recording is scored
    config.evaluate.checkpoint = "latest"  # or 'best'

    config.extract = ml_collections.ConfigDict()
    config.extract.rgb_weights = "data/i3d_rgb.npz"  # as tal_jax.convert writes or reads them; "": no such stream
    config.extract.flow_weights = ""
    config.extract.end_point = "Mixed_5c"  # features; or "Logits": class probabilities
    config.extract.short_side_pixels = 256  # of a frame, before its centre is cut out
    config.extract.crop_pixels = 224
    config.extract.batch_size = 4  # snippets
    config.extract.beam = False  # True: as an Apache Beam pipeline, on one machine or many (docs/scale.md)
    config.extract.beam_options = ""  # of that pipeline, as on a command line; without --runner it runs on this machine

    config.propose = ml_collections.ConfigDict()
    config.propose.most = 300  # proposals of a recording
    config.propose.grouping = False  # True: of ecm and kt_mgfn groups of the class activations, not the candidates
    config.propose.nms_tiou = 0.95  # candidates that overlap a better one by so much are left out, whatever their classes

    config.predict = ml_collections.ConfigDict()
    config.predict.min_score = 0.2  # of what the table and the picture show; the JSON file holds all

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
    """Defines the flag --config=NAME, --config=FILE, and either with a variant behind a colon. Returns its holder.

    Args:
      flag_values: an absl FlagValues, whose fields --config.FIELD=VALUE it also defines once a config is named.
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


def split_variant(variant, systems, **defaults):
    """What stands behind the colon of --config=configs/thumos.py:dw_afsd,input=rgb, taken apart.

    Args:
      variant: 'SYSTEM,OPTION=VALUE,…'.
      systems: the names that SYSTEM may be.
      defaults: every option there is, and its value where it is left out.

    Returns:
      system, dict option -> value.

    Raises:
      DataError: another system or option.
    """
    system, *parts = variant.split(",")
    if system not in systems:
        raise DataError(
            f"the system '{system}' is not one of {', '.join(systems)}; the head of the config file lists its variants."
        )
    options = dict(part.partition("=")[::2] for part in parts)
    if len(options) < len(parts):
        raise DataError(f"the variant '{variant}' says an option twice; say it once.")
    unknown = [option for option in options if option not in defaults]
    if unknown:
        raise DataError(f"'{unknown[0]}' is no option of the variant '{variant}'; it may have {', '.join(defaults) or 'none'}.")
    return system, defaults | options


def is_two_stage(config):
    """Whether the system of a config starts from proposals."""
    return "proposals" in config


class ListParser(tuple_parser.TupleParser):
    """Reads a tuple field on the command line: a,b or 0.3,0.5 or "('a', 'b')"; nothing behind the = is no entry."""

    def parse(self, argument):
        """The tuple that a text, or each of several texts, says. Raises ValueError for brackets that cannot be read."""
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
    """What flags or a config file raised, as a sentence. file: the config file, or the name of a known one."""
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
        return f"no config is called '{file}'; those that are known are {', '.join(known)}, and --config=FILE.py names yours."
    name = pathlib.Path(file).stem
    hint = f" The one that comes with tal_jax is --config={name}." if name in known and not os.path.exists(file) else ""
    return f"cannot read the config file {file}.{hint}"


flags.disclaim_key_flags()  # the flag of define_config counts as the caller's, so that --help lists it
config_flags.register_flag_parser_for_type(tuple, ListParser())
config_flags.register_flag_parser_for_type(int, _worded(flags.IntegerParser(), "a whole number"))
config_flags.register_flag_parser_for_type(float, _worded(flags.FloatParser(), "a number"))
config_flags.register_flag_parser_for_type(bool, _worded(flags.BooleanParser(), "True or False"))
config_flags.register_flag_parser_for_type(ml_collections.ConfigDict, _SectionParser())
