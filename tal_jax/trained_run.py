"""A trained run that detects in recordings, for `tal_jax.load_run` and `--mode=predict`."""

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
from tal_jax.data.recording_scores import best_classes, label_recordings
from tal_jax.detect import Detector
from tal_jax.errors import DataError
from tal_jax.inputs import Timing, input_datasets, known_recordings
from tal_jax.run_config import stored_config
from tal_jax.systems import SYSTEMS

log = logging.getLogger(__name__)


class TrainedRun:
    """A run, or two whose streams are fused, with its first stage if it has one; compiled once.

    Attributes:
      config: of the run (a ConfigDict); of two, of the first.
      classes: names in index order, a tuple.
      detector: the Detector of the networks, compiled at its first call; None before `prepare`.
    """

    def __init__(self, runs, said=()):
        """runs, said: see `evaluate.find_runs`. Nothing else is read before `prepare`."""
        self._runs, self._said, self.detector = runs, said, None
        self.config, self.classes = runs[0].config, runs[0].classes

    @classmethod
    def load(cls, folder):
        """The TrainedRun of a run's folder; `tal_jax.load_run` gives it to users."""
        config = stored_config(folder)
        if config.system not in SYSTEMS:
            known = ", ".join(SYSTEMS)
            raise DataError(f"{folder} holds a run of the system '{config.system:.60}', not one of {known}.")
        try:
            _find_files(config, folder)
            return cls(evaluate.find_runs(config, folder)).prepare()
        except (AttributeError, KeyError, TypeError) as error:  # the config lacks a field, or has a wrong one
            first_line = str(error).partition("\n")[0].strip("\"' .")
            what = f"{pathlib.Path(folder) / 'config.json'} is damaged, or of another version of tal_jax"
            what_to_do = "Put back the file, or use the version that wrote it"
            raise DataError(f"{what}: {first_line:.300}. {what_to_do}.") from error

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
            try:
                if np.ma.isMaskedArray(source):
                    source = source.astype(np.float32).filled(np.nan)
                source = np.asarray(source)
            except (TypeError, ValueError) as error:  # nested lists of several lengths and the like
                what = "The source is neither a path nor an array"
                raise DataError(f"{what}; it must be real numbers (T, C).") from error
        elif pathlib.Path(source).is_dir():  # "" too
            raise DataError(f"'{source}' is a folder; name one file.")
        try:
            ((name, make_datasets),) = self.inputs(source, Timing(fps, duration_sec)).items()
            return self.detections(self.streams(make_datasets()), name)
        except DataError as error:
            raise DataError(str(error).removeprefix("--input=")) from error

    def prepare(self):
        """Builds the networks and reads their checkpoints and the file of class scores. Returns itself.

        Raises:
          DataError: a checkpoint is missing or damaged, or the file of class scores cannot be read.
        """
        self.detector = Detector([run.config for run in self._runs], len(self.classes))
        settings = self.config.evaluate
        scores, count = settings.recording_scores, settings.classes_per_recording
        self._best = best_classes(scores, count) if scores else None
        variables = SYSTEMS[self.config.system].variables
        self._variables = [variables(run.config, run.workdir) for run in self._runs]
        return self

    def inputs(self, source, timing=Timing()):
        """Finds what a source names: dict recording name -> function that makes a Dataset for each stream.

        A system that starts from proposals gets those of its first stage, run on the same source, or of
        `config.proposals`.

        Args:
          source: see `inputs.input_datasets`; a folder of files, too.
          timing: Timing of the source.

        Raises:
          DataError: see `input_datasets`; the first stage cannot see the source; the proposals or the class
            scores cannot be read. The functions raise it for a recording without annotation and proposals.
        """
        of_runs = [input_datasets(run.config, source, run.classes, timing) for run in self._runs]
        # Without proposals a two-stage system says itself that it lacks them.
        proposed = is_two_stage(self.config) and self.config.proposals
        scores = recording_scores(self.config, self.classes) if proposed else None
        first = self._first_stage if proposed else None
        of_first = first.inputs(source, timing) if first else None

        def make(name):
            datasets = [inputs[name]() for inputs in of_runs]
            if not proposed:
                return datasets
            found = self._made(name, of_first[name]()) if first else self._read(name, datasets[0].annotations)
            return [dataclasses.replace(data, proposals=found, recording_scores=scores) for data in datasets]

        return {name: functools.partial(make, name) for name in of_runs[0]}

    def streams(self, datasets):
        """A `detect.Stream` of each network. datasets: what a function of `inputs` returns."""
        return evaluate.make_streams(self._runs, self._variables, datasets)

    def detections(self, streams, name):
        """The detections of the recording `name`, as `detect` returns them. streams: see `streams`."""
        results = self.detector.detect(streams, [name])
        if self._best is not None and streams[0].dataset.recording_scores is None:
            power = self.config.evaluate.recording_score_power
            results = label_recordings(results, self._best, power)
        return results[name]

    @functools.cached_property
    def _first_stage(self):
        """The TrainedRun that makes the proposals; None if they are those of a file."""
        folder = propose.first_stage_folder(self._runs[0].workdir)
        if self.config.proposals != str(propose.path_of(folder)):
            return None
        first, said = propose.first_stage_of(self.config), propose.said_of_first(self._said)
        return TrainedRun(evaluate.find_runs(first, folder, said)).prepare()

    def _made(self, name, datasets):
        """{name: Proposals} of a recording by the first stage, labels in the classes of this run.

        datasets: of the first stage's streams.
        """
        first, streams = self._first_stage, self._first_stage.streams(datasets)
        candidates = propose.candidates_of(first.detector, streams, [name])
        found = propose.proposals_of_candidates(self.config.first_stage, candidates, streams[0].dataset)[name]
        index = [self.classes.index(label) if label in self.classes else -1 for label in first.classes]
        return {name: dataclasses.replace(found, labels=np.array(index, np.int32)[found.labels])}

    @functools.cached_property
    def _blocks(self):
        """(blocks, recordings by name) of the file `config.proposals` and of the annotations, read once."""
        return read_blocks(self.config.proposals), known_recordings(self.config, self.classes)

    def _read(self, name, annotations):
        """{name: Proposals} of a recording, read from `config.proposals`, which may lack an annotated one."""
        blocks, known = self._blocks
        called = match_names([block.name for block in blocks], known | annotations.recordings)
        own = [block for block in blocks if called[block.name] == name]
        if not own and name not in known:
            raise DataError(f"{self.config.proposals} has no proposals of '{name}'.")
        return proposals.match_blocks(self.config.proposals, own, annotations)[0]


def _find_files(config, folder):
    """Sets the paths of files that a config names to where this process sees them.

    config.json names proposals in the run's folder as seen from there. Annotations may be gone: they are not
    needed to detect.
    """
    if config.get("proposals") and (inside := pathlib.Path(folder) / config.proposals).exists():
        config.proposals = str(inside)
    for data in (part.data for part in (config, config.get("first_stage")) if part):
        if data.annotations and not pathlib.Path(data.annotations).exists():
            gone = "The annotations of the run, %s, are not there; no recording counts as annotated."
            log.warning(gone, data.annotations)
            data.annotations = ""
