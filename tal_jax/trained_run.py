"""A trained run that detects in recordings: what `tal_jax.load_run` gives, and what `--mode=predict` uses."""

import dataclasses
import functools
import logging
import math
import numbers
import os
import pathlib

import numpy as np

from tal_jax import evaluate, propose
from tal_jax.config import is_two_stage
from tal_jax.data import proposals, recording_scores
from tal_jax.data.names import match_names
from tal_jax.data.proposal_files import read_blocks
from tal_jax.detect import Detector
from tal_jax.errors import DataError
from tal_jax.inputs import Timing, input_datasets, known_recordings
from tal_jax.run_config import stored_config
from tal_jax.systems import SYSTEMS, require_valid

log = logging.getLogger(__name__)


class TrainedRun:
    """A run, or two whose streams are fused, with its first stage if it has one; compiled once.

    Attributes:
      config: of the run (a ConfigDict); of two, of the first.
      classes: names in index order, a tuple.
    """

    def __init__(self, runs):
        """runs: see `evaluate.find_runs`. Nothing else is read before `prepare`, or before it is needed."""
        self._runs = runs
        self.config, self.classes = runs[0].config, runs[0].classes

    @classmethod
    def load(cls, folder):
        """See `tal_jax.load_run`."""
        config = stored_config(folder)
        if config.system not in SYSTEMS:
            raise DataError(
                f"{folder} holds a run of the system '{config.system:.60}', not one of {', '.join(SYSTEMS)}."
            )
        try:
            require_valid(config, training=False)
            _find_files(config, folder)
            return cls(evaluate.find_runs(config, folder)).prepare()
        except (AttributeError, KeyError, TypeError) as error:  # the config lacks a field, or has a wrong one
            first_line = str(error).partition("\n")[0].strip("\"' .")
            raise DataError(
                f"{pathlib.Path(folder) / 'config.json'} is damaged, or of another version of tal_jax: "
                f"{first_line:.300}. Put back the file, or use the version that wrote it."
            ) from error

    def detect(self, source, *, fps=None, duration_sec=None):
        """Finds actions in one recording: what `--mode=predict` writes of it.

        Args:
          source: an array (T, C) of real numbers, T samples or feature vectors as the files of the data set
            hold them (for SBHAR: acceleration x, y, z in g, angular rate x, y, z in rad/s); or the path of a
            file of features or sensor signals or, for a run that sees frames, of a video; or the name of a
            recording of the run's data set.
          fps: rows of the array, or of the file, in one second. Needed where neither the file nor the run's
            `config.data.fps` says.
          duration_sec: length of the recording in seconds. Without a rate the rows are spread over it.

        Returns:
          A list of {"label": name of a class, "segment": [start_sec, end_sec], "score": float, higher is
          surer}: all that is found, also what scores little. `config.predict.min_score` says what the
          picture of `--mode=predict` shows.

        Raises:
          DataError: one sentence, if the source cannot be read, does not fit what the run was trained on, or
          has no known rate.
        """
        for field, value in (("fps", fps), ("duration_sec", duration_sec)):
            if value is not None and not (isinstance(value, numbers.Real) and 0 < value < math.inf):
                raise DataError(f"{field} is {value}; it must be a number above 0.")
        if not isinstance(source, (str, os.PathLike)):
            source = _as_array(source)
        elif pathlib.Path(source).is_dir():  # "" too
            raise DataError(f"'{source}' is a folder; name one file.")
        try:
            ((name, make_datasets),) = self.inputs(source, Timing(fps, duration_sec)).items()
            return self.detections(self.streams(make_datasets()), name)
        except DataError as error:
            raise DataError(str(error).removeprefix("--input=")) from error

    def prepare(self):
        """Builds the networks and reads their checkpoints at once, not when they are needed. Returns itself.

        Raises:
          DataError: a checkpoint is missing or damaged, or the file of class scores cannot be read.
        """
        _ = self.detector, self._label, self._variables
        return self

    @functools.cached_property
    def detector(self):
        """The Detector of the networks, compiled at its first call."""
        return Detector([run.config for run in self._runs], len(self.classes))

    @functools.cached_property
    def _label(self):
        return evaluate.labelling(self.config)

    @functools.cached_property
    def _variables(self):
        return evaluate.load_all_variables(self._runs)

    def inputs(self, source, timing=Timing()):
        """What a source names: dict recording name -> function that makes a Dataset for each stream.

        A system that starts from proposals gets those of its first stage, run on the same source, or of
        `config.proposals`.

        Args:
          source: see `inputs.input_datasets`; a folder of files, too.
          timing: Timing of the source.

        Raises:
          DataError: see `input_datasets`. The first stage cannot see the source, or the proposals or the
          scores of recordings cannot
            be read. The functions raise it for a recording that is not annotated and has no proposals.
        """
        of_runs = [input_datasets(run.config, source, run.classes, timing) for run in self._runs]
        if not (
            is_two_stage(self.config) and self.config.proposals
        ):  # without any the system says what it needs
            return {name: functools.partial(_make_all, of_runs, name) for name in of_runs[0]}
        scores = recording_scores(self.config, self.classes)
        find = self._of_first_stage(source, timing) if self._first_stage else self._of_file()

        def make(name):
            datasets = _make_all(of_runs, name)
            found = find(name, datasets[0].annotations)
            return [
                dataclasses.replace(dataset, proposals=found, recording_scores=scores) for dataset in datasets
            ]

        return {name: functools.partial(make, name) for name in of_runs[0]}

    def streams(self, datasets):
        """A `detect.Stream` of each network. datasets: one for each, as the functions of `inputs` give."""
        return evaluate.make_streams(self._runs, self._variables, datasets)

    def detections(self, streams, name):
        """The detections of the recording `name`, as `detect` returns them. streams: see `streams`."""
        return self._label(streams[0].dataset, self.detector.detect(streams, [name]))[name]

    @functools.cached_property
    def _first_stage(self):
        """The TrainedRun that makes the proposals; None if they are of a file."""
        folder = propose.first_stage_folder(self._runs[0].workdir)
        if self.config.proposals != str(propose.path_of(folder)):
            return None
        first = self.config.first_stage.copy_and_resolve_references()
        first.parallel.update(self.config.parallel)
        return TrainedRun(evaluate.find_runs(first, folder)).prepare()

    def _of_first_stage(self, source, timing):
        """Function (recording name, annotations) -> {name: Proposals}, labels in the classes of this run."""
        first, settings = self._first_stage, self.config.first_stage.propose
        inputs = first.inputs(source, timing)
        index = np.array(
            [self.classes.index(name) if name in self.classes else -1 for name in first.classes], np.int32
        )

        def find(name, _):
            streams = first.streams(inputs[name]())
            candidates, duration_sec = (
                propose.candidates_of(first.detector, streams, [name]),
                streams[0].dataset.duration_sec,
            )
            found = proposals.from_candidates(
                candidates, duration_sec, most=settings.most, nms_tiou=settings.nms_tiou
            )
            return {name: dataclasses.replace(found[name], labels=index[found[name].labels])}

        return find

    @functools.cached_property
    def _blocks(self):
        """(blocks, recordings by name) of the file `config.proposals` and of the annotations, read once."""
        return read_blocks(self.config.proposals), known_recordings(self.config, self.classes)

    def _of_file(self):
        """Function as `_of_first_stage`'s, for the file `config.proposals`.

        As in an evaluation, an annotated recording may have none there.
        """
        blocks, known = self._blocks

        def find(name, annotations):
            called = match_names([block.name for block in blocks], known | annotations.recordings)
            own = [block for block in blocks if called[block.name] == name]
            if not own and name not in known:
                raise DataError(f"{self.config.proposals} has no proposals of '{name}'.")
            return proposals.match_blocks(self.config.proposals, own, annotations)[0]

        return find


def _make_all(of_runs, name):
    """The Dataset of a recording for each run. of_runs: of each, as `input_datasets` returns them."""
    return [inputs[name]() for inputs in of_runs]


def _as_array(source):
    """What is no path as an array. Raises DataError for nested lists of several lengths and the like."""
    try:
        return np.asarray(source)
    except (TypeError, ValueError) as error:
        raise DataError(
            "The source is neither a path nor an array; it must be real numbers (T, C)."
        ) from error


def _find_files(config, folder):
    """Sets the paths of files that a config names otherwise than where they are for this process.

    Proposals in the run's folder are named as seen from there. Annotations are not needed to detect, and may
    be left behind.
    """
    if config.get("proposals") and (inside := pathlib.Path(folder) / config.proposals).exists():
        config.proposals = str(inside)
    for data in (part.data for part in (config, config.get("first_stage")) if part):
        if data.annotations and not pathlib.Path(data.annotations).exists():
            log.warning(
                "The annotations of the run, %s, are not there; no recording counts as annotated.",
                data.annotations,
            )
            data.annotations = ""
