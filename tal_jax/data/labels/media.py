"""The files of recordings: which ones a folder holds, how long they last, when they begin."""

import functools
import pathlib
from typing import NamedTuple

from tal_jax.data.annotations import positive_or_none
from tal_jax.data.feature_files import TABLES, find_features, first_time, number_columns, read_features
from tal_jax.data.features import data_config
from tal_jax.data.labels import times
from tal_jax.data.names import VIDEO_SUFFIXES
from tal_jax.data.table_times import UNITS_SEC
from tal_jax.data.timeline import on_even_axis
from tal_jax.data.video import read_info
from tal_jax.errors import DataError
from tal_jax.runtime.files import list_files
from tal_jax.runtime.json_files import read_json

TIMED = (*TABLES, ".wav")  # feature files that may say their rate


class Length(NamedTuple):
    """How long a recording lasts, as its file says; None: it does not.

    Attributes:
        duration_sec: seconds.
        fps: rows of the file a second.
        problem: a sentence on why the file could not be read, or "".
    """

    duration_sec: float | None = None
    fps: float | None = None
    problem: str = ""


class Media:
    """The recordings whose files lie in a folder: features or signals (`find_features`), or else videos.

    Attributes:
        folder: the folder.
        paths: name of a recording -> path.
        fps: rows a second of features that do not say it; None: not known.
    """

    def __init__(self, folder, fps=None):
        """Raises DataError for a folder that holds no such file."""
        self.folder, self.fps = pathlib.Path(folder), fps
        self.paths = find_features(folder) or {p.stem: p for p in list_files(folder, VIDEO_SUFFIXES)[0]}
        if not self.paths:
            raise DataError(f"--features={folder} holds no features, signals or videos; name another.")

    @functools.cache  # noqa: B019, there is one Media
    def length(self, name):
        """The Length of a recording: by info/NAME.json, time stamps, `fps`, or as a sound or a video."""
        path = self.paths[name]
        try:
            for folder in (path.parent / "info", path.parent.parent / "info"):
                if (folder / f"{name}.json").is_file():
                    file = folder / f"{name}.json"
                    return Length(positive_or_none(read_json(file, "info file"), "duration_sec", file))
            if path.suffix.lower() in VIDEO_SUFFIXES:
                return Length(read_info(path).duration_sec)
            if path.suffix.lower() in TIMED or self.fps:
                _, axis = on_even_axis(read_features(path, _one_channel(path)), 0.0, f"Recording '{name}'")
                rate = axis.rate or self.fps
                return Length(axis.rows / rate, rate) if rate else Length()
        except (DataError, OSError, AttributeError) as error:
            return Length(problem=str(error))
        return Length()

    def first_time(self, name):
        """`times.first_time` of a recording's table, or None where it has no time stamps."""
        path = self.paths[name]
        first = first_time(path, data_config()) if path.suffix.lower() in TABLES else None
        return first and times.first_time(first[0], f"{path}, its first time stamp", UNITS_SEC.get(first[1]))

    def begins_sec(self, name, where):
        """(seconds since 1970, clock) of a recording's beginning. Raises DataError, which `where` begins."""
        first_sec, clock = self.first_time(name) or (0.0, times.FROM_START)
        if clock in (times.FROM_START, times.OF_DAY):
            says = f"its time is a date, but {self.paths[name]} has no time stamps that say when it begins"
            raise DataError(f"{where}: {says}; write times in seconds from its beginning.")
        return first_sec, clock


def _one_channel(path):
    """`config.data` that reads one channel of a table of samples, whatever stands in its other columns."""
    if path.suffix.lower() not in TABLES:
        return data_config()
    numbers = number_columns(path, data_config())
    return data_config(csv_columns=(numbers[0].position,)) if numbers else data_config()
