"""Times in files of labels: from the beginning of a recording, or of a clock."""

import datetime
import re

from tal_jax.data.csv_layout import DECIMAL_COMMA
from tal_jax.data.table_times import EPOCH_SEC, UNITS_SEC
from tal_jax.errors import DataError

CLOCK = re.compile(r"(?:(\d+):(?=\d+:))?(\d+):(\d{1,2}(?:[.,]\d*)?)")  # hh:mm:ss.fff, mm:ss.fff
DATE = re.compile(r"\d{4}-\d\d-\d\d.*")
# What a time counts from: the beginning of its recording, or 1970; a date without a zone is taken as UTC.
FROM_START, UTC, NO_ZONE = "the beginning", "1970", "1970, if it is UTC"
OF_DAY, DAY_SEC = "midnight, or the beginning", 86_400  # of a first time stamp hh:mm:ss


def time_of(text, where, unit_sec=None):
    """(seconds, clock) of a time: what they count from is FROM_START, UTC or NO_ZONE.

    Args:
        text: a number, mm:ss.fff, hh:mm:ss.fff or a date of ISO 8601; one without a time zone counts as UTC.
        where: begins the sentence of an error.
        unit_sec: seconds in one unit of a number, None where the file does not say: then it is seconds, or
            seconds to nanoseconds since 1970 if it can be of no other time than the years 2000 to 2100.

    Raises:
        DataError: it is no time.
    """
    text = text.strip()
    parts = CLOCK.fullmatch(text)
    if parts:
        hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in parts.groups())
        if seconds < 60 and (minutes < 60 or not parts[1]):
            return hours * 3600 + minutes * 60 + seconds, FROM_START
    try:
        if DATE.fullmatch(text):
            date = datetime.datetime.fromisoformat(text)
            if date.tzinfo:
                return date.timestamp(), UTC
            return date.replace(tzinfo=datetime.timezone.utc).timestamp(), NO_ZONE
        if "_" in text:  # float("1_0") is 10
            raise ValueError
        number = float(text.replace(",", ".") if DECIMAL_COMMA.fullmatch(text) else text)
        if abs(number) == float("inf") or number != number:
            raise ValueError
    except ValueError:
        forms = "seconds, mm:ss, hh:mm:ss or a date such as 2014-06-10 13:00:00"
        raise DataError(f"{where}: a time must be {forms}, found {text!r:.60}.") from None
    for unit in UNITS_SEC.values() if unit_sec is None else (unit_sec,):
        if EPOCH_SEC[0] <= number * unit < EPOCH_SEC[1]:
            return number * unit, UTC
    return number * (1.0 if unit_sec is None else unit_sec), FROM_START


def first_time(text, where, unit_sec):
    """`time_of` a first time stamp, of the clock OF_DAY where it is written as hh:mm:ss."""
    seconds, clock = time_of(text, where, unit_sec)
    return seconds, OF_DAY if clock == FROM_START and ":" in text else clock
