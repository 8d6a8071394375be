"""Times of labels on the axis of a recording, whose second 0 is the first time stamp of its file."""

import math

from tal_jax.data.labels.times import DAY_SEC, FROM_START, NO_ZONE, OF_DAY, UTC
from tal_jax.data.table_times import EPOCH_SEC
from tal_jax.errors import DataError

TOLERANCE_SEC = 1.0  # of labels that reach to the end of a recording
ON_CLOCK = "Labels are on the clock of their recording's file, whose first time stamp counts as 0 s"
FROM_FILE = "Labels count from the first time stamp of their recording's file, which is not 0"
ALONE = "Labels count from the first time stamp beside them; --features counts from the file's"
OTHER_CLOCK = "Time stamps beside labels do not fit those of their recording's file; both begin at 0 s"
ZONES = "Some times have a time zone or count from 1970, others have none and are taken as UTC"


class Clocks:
    """Counts the times of labels from the beginning of their recordings, and says on which clock they are."""

    def __init__(self, media):
        """media: Media, or None where no files are known."""
        self._media, self._of_samples = media, set()  # recordings with time stamps beside their labels
        # How a recording counts -> recording -> the first time stamp, in seconds.
        self._said = {how: {} for how in (ZONES, ON_CLOCK, FROM_FILE, OTHER_CLOCK, ALONE)}

    def notes(self):
        """A list of sentences for a person."""
        notes = []
        for how, recordings in self._said.items():
            if recordings:
                name, first_sec = next(iter(recordings.items()))
                at = f" at {first_sec:g} s" if 0 < first_sec < EPOCH_SEC[0] else ""
                count = f"{len(recordings)} recording{'s' * (len(recordings) > 1)}"
                notes.append(f"{how} ({count}, the first is '{name}'{at}).")
        return notes

    def late_sec(self, name, known):
        """Seconds from the first time stamp of a recording's file to that of its table of labels a sample.

        Args:
            name: of the recording.
            known: what a file of labels says of it, see `Labels.recordings`.
        """
        if "first" not in known:
            return 0.0
        self._of_samples.add(name)
        first_sec, first_clock = known["first"]
        if self._media is None and first_sec:
            self._said[ALONE][name] = first_sec
        of_file = self._media.first_time(name) if self._media else None
        if not of_file:
            return 0.0
        begins_sec, clock = of_file
        self._note_zones(name, {clock, first_clock})
        late_sec = first_sec - begins_sec
        if {clock, first_clock} <= {UTC, NO_ZONE}:
            return late_sec
        if clock != first_clock or not first_sec:
            return 0.0
        if clock == OF_DAY:  # perhaps of the next day, or of the day before
            late_sec = (late_sec + DAY_SEC / 2) % DAY_SEC - DAY_SEC / 2
        elif late_sec < 0:  # a device may count from when it was switched on
            return 0.0
        ends_sec = late_sec + known["duration"]
        if not 0 < ends_sec <= (self._media.length(name).duration_sec or math.inf) + TOLERANCE_SEC:
            self._said[OTHER_CLOCK][name] = first_sec
            return 0.0
        return late_sec

    def from_beginning(self, rows, durations_sec):
        """The Rows of all recordings, those of a clock counted from the first time stamp of the file.

        Dates are of a clock. So are other times if those of all recordings fit on the clock of their files,
        and some do not fit from the beginning.

        Args:
            rows: recording -> list of Row.
            durations_sec: recording -> length, infinite where it is not known.

        Returns:
            recording -> list of Row.

        Raises:
            DataError: a time is a date, and no file says when the recording begins.
        """
        plain = {
            name: [row for row in some if row.clock == FROM_START and math.isfinite(row.start_sec)]
            for name, some in rows.items()
        }
        first = {name: self._of_file(name) for name in rows if plain[name]}
        first = {name: (seconds, clock) for name, (seconds, clock) in first.items() if seconds}
        on_clock = {name: [_on_clock(row, *first[name]) for row in plain[name]] for name in first}
        fit = lambda some: all(_fit(some[name], durations_sec[name]) for name in first)
        are_on_clock = fit(on_clock) and not fit(plain)
        said = {name: seconds for name, (seconds, _) in first.items()}
        self._said[ON_CLOCK if are_on_clock else FROM_FILE] |= said
        counted = {}
        for name, some in rows.items():
            dates_sec, of_file = self._dates_sec(name, some), first.get(name) if are_on_clock else None
            counted[name] = []
            for row in some:
                if row.clock != FROM_START:
                    row = moved(row, -dates_sec)
                elif of_file:
                    row = _on_clock(row, *of_file)
                counted[name].append(row)
        return counted

    def _dates_sec(self, name, rows):
        """Seconds since 1970 at which a recording begins, 0 if no Row has a date. Raises DataError."""
        of_date = [row for row in rows if row.clock != FROM_START]
        if not of_date:
            return 0.0
        if self._media is None:
            says = "its times are dates, or count from 1970; name the folder of the recordings' files"
            where = f"{of_date[0].where}: {says}"
            raise DataError(f"{where} with --features, whose first time stamp is second 0.")
        begins_sec, clock = self._media.begins_sec(name, of_date[0].where)
        self._note_zones(name, {clock, *(row.clock for row in rows)})
        return begins_sec

    def _of_file(self, name):
        """`times.first_time` of a recording's file; 0 s for a date, and where labels have time stamps."""
        try:
            first_sec, clock = self._media and self._media.first_time(name) or (0.0, FROM_START)
        except DataError:  # of a damaged file, which `Media.length` names
            return 0.0, FROM_START
        counts = clock in (FROM_START, OF_DAY) and name not in self._of_samples
        return first_sec if counts else 0.0, clock

    def _note_zones(self, name, clocks):
        if {UTC, NO_ZONE} <= clocks:
            self._said[ZONES][name] = 0.0


def _on_clock(row, begin_sec, clock):
    """A Row on the clock of a file that begins at so many seconds, from its beginning. See `first_time`."""
    start_sec, end_sec = (
        seconds - begin_sec + DAY_SEC * (clock == OF_DAY and seconds < begin_sec - TOLERANCE_SEC)
        for seconds in (row.start_sec, row.end_sec)
    )
    return row._replace(start_sec=start_sec, end_sec=end_sec)


def _fit(rows, duration_sec):
    """Whether Rows lie in a recording of this length."""
    begins, ends = min(row.start_sec for row in rows), max(row.end_sec for row in rows)
    in_order = all(row.start_sec <= row.end_sec for row in rows)
    return in_order and -TOLERANCE_SEC <= begins and ends <= duration_sec + TOLERANCE_SEC


def moved(row, seconds):
    """A Row so many seconds later."""
    return row._replace(start_sec=row.start_sec + seconds, end_sec=row.end_sec + seconds)
