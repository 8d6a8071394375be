"""Detections in the formats of other programs, to be looked at and corrected there.

Each format is a function that takes the rows of a recording and the `Source` they were found in, and gives
the text of a file; `FORMATS` names them. All hold the same rows, see `rows_of`. People look at the detections
and correct them, so what scores little is left out, as in the picture of `--mode=predict`.

Detections of one class may overlap, but the intervals of a tier of ELAN or Praat may not, and BORIS pairs the
events of a behavior in turn. So the surest detections of a class lie on one track, and each other one on the
first track where it overlaps none, see `tracks`. Nothing is cut or left out. The second track of a class is
the tier CLASS_2, or in BORIS the subject "2". The text of an interval is the class on every track.
"""

import csv
import datetime
import html
import io
import mimetypes
import pathlib
import re
from typing import NamedTuple
from xml.etree import ElementTree

from tal_jax.data.names import VIDEO_SUFFIXES
from tal_jax.errors import UNPRINTABLE, DataError
from tal_jax.ops.lanes import lanes
from tal_jax.runtime.files import list_files, replacing

MEDIA_SUFFIXES = (*VIDEO_SUFFIXES, ".wav")  # of recordings that other programs play
EMPTY_TIER = "action"  # Praat opens no TextGrid without a tier
_NOT_IN_A_LINE = re.compile(f"{UNPRINTABLE.pattern}|[\ufffe\uffff]")  # the latter two are not in XML either

BORIS_COLUMNS = (
    *("Observation id", "Observation date", "Description", "Observation duration", "Observation type"),
    *("Source", "Time offset (s)", "Media duration (s)", "FPS", "Subject", "Behavior", "Behavioral category"),
    *("Behavior type", "Time", "Media file name", "Image index", "Image file path", "Comment"),
)


class Row(NamedTuple):
    """A detection: start and end in whole milliseconds, class, score."""

    start_ms: int
    end_ms: int
    label: str
    score: float


class Source(NamedTuple):
    """The recording that detections were found in.

    Attributes:
      name: of the recording, on one line.
      duration_ms: its length in whole milliseconds; None: not known.
      media: absolute path of its video or sound; None: it has none, or it is not known.
    """

    name: str
    duration_ms: int | None = None
    media: pathlib.Path | None = None


def rows_of(detections, min_score=0.0, duration_ms=None):
    """The Rows of detections, in the order of time.

    Times are rounded to milliseconds, the unit of most formats, and cut at the ends of the recording. Left
    out is what scores less than `min_score`, lies outside the recording, or lasts less than a millisecond.
    Labels are put on one line: a line break or another control character becomes a space.

    Args:
      detections: [{"label", "segment": [start_sec, end_sec], "score"}], finite numbers.
      min_score: number.
      duration_ms: length of the recording; None: not known, and ends are not cut.
    """
    rows = []
    for d in detections:
        start_ms, end_ms = (round(1000 * float(sec)) for sec in d["segment"])
        start_ms, end_ms = max(start_ms, 0), end_ms if duration_ms is None else min(end_ms, duration_ms)
        if d["score"] >= min_score and start_ms < end_ms:
            rows.append(Row(start_ms, end_ms, _one_line(d["label"]), float(d["score"])))
    return sorted(rows)


def tracks(rows):
    """{(class, number of the track from 1): its Rows in the order of time}, sorted; none overlap on a track.

    The surest detections of a class choose first, each the first track where it overlaps none.
    """
    by_class, found = {}, {}
    for row in rows:
        by_class.setdefault(row.label, []).append(row)
    for label, of_class in by_class.items():
        for row, lane in zip(of_class, lanes([row[:2] for row in of_class], [row.score for row in of_class])):
            found.setdefault((label, lane + 1), []).append(row)
    return {key: sorted(found[key]) for key in sorted(found)}


def tiers(rows):
    """{name of the tier: its Rows}: CLASS, CLASS_2, … of `tracks`. No two classes have one tier."""
    found = tracks(rows)
    names = {label for label, _ in found}
    named = {}
    for (label, number), on_track in found.items():
        name = label if number == 1 else f"{label}_{number}"
        while number > 1 and name in names:  # a class that is called CLASS_2
            name += "_"
        names.add(name)
        named[name] = on_track
    return named


def csv_table(rows, source):
    """CSV: recording, start and end in seconds, label, score; a line of names first."""
    head, lines = ("recording", "start", "end", "label", "score"), []
    for row in rows:
        lines.append((source.name, row.start_ms / 1000, row.end_ms / 1000, row.label, f"{row.score:.6g}"))
    return _table([head, *lines])


def vtt(rows, _):
    """WebVTT subtitles: a cue a detection, its class the text."""
    cues = [f"{_span(row, '.')}\n{html.escape(row.label, quote=False)}\n" for row in rows]
    return "\n".join(["WEBVTT\n", *cues])


def srt(rows, _):
    """SubRip subtitles: as `vtt`, with running numbers; the format has no escapes."""
    return "\n".join(f"{number}\n{_span(row, ',')}\n{row.label}\n" for number, row in enumerate(rows, 1))


def audacity(rows, _):
    """A label track of Audacity: start and end in seconds and the class, between tabs; no head."""
    return "".join(f"{row.start_ms / 1000:.6f}\t{row.end_ms / 1000:.6f}\t{row.label}\n" for row in rows)


def textgrid(rows, source):
    """A TextGrid of Praat, in its long text form: an interval tier a track, see `tiers`.

    Intervals without a text fill the tier from 0 to the end of the recording, or to the end of the last
    detection where no duration is known (with no detection either, to 1 s).
    """
    end_ms = source.duration_ms or max((row.end_ms for row in rows), default=1000)
    span = ["xmin = 0.0", f"xmax = {end_ms / 1000}"]
    found = tiers(rows) or {EMPTY_TIER: []}
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", *span, "tiers? <exists>"]
    lines += [f"size = {len(found)}", "item []:"]
    for number, (name, on_tier) in enumerate(found.items(), 1):
        intervals = _covering(on_tier, end_ms)
        head = ['class = "IntervalTier"', f"name = {_quoted(name)}", *span]
        head += [f"intervals: size = {len(intervals)}"]
        lines += [f"    item [{number}]:", *(f"        {line}" for line in head)]
        for i, (start, end, text) in enumerate(intervals, 1):
            fields = f"xmin = {start / 1000}", f"xmax = {end / 1000}", f"text = {_quoted(text)}"
            lines += [f"        intervals [{i}]:", *(f"            {field}" for field in fields)]
    return "\n".join([*lines, ""])


def _covering(rows, end_ms):
    """[(start_ms, end_ms, text)] from 0 to `end_ms`: the Rows of a tier, and between them no text."""
    intervals, reached = [], 0
    for row in rows:
        intervals += [(reached, row.start_ms, ""), (row.start_ms, row.end_ms, row.label)]
        reached = row.end_ms
    return [interval for interval in (*intervals, (reached, end_ms, "")) if interval[0] < interval[1]]


def _quoted(text):
    """A text of a TextGrid: in quotes, its own doubled."""
    return '"{}"'.format(text.replace('"', '""'))


def eaf(rows, source):
    """An annotation document of ELAN: a tier a track, see `tiers`; linked to the recording's media if known.

    Each annotation has two time slots of its own, so that in ELAN its ends move alone. The slots are in the
    order of time.
    """
    schema = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
    made = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    head = {"AUTHOR": "tal_jax", "DATE": made, "FORMAT": "3.0", "VERSION": "3.0"}
    head |= {schema: "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"}
    document, add = ElementTree.Element("ANNOTATION_DOCUMENT", head), ElementTree.SubElement
    header = add(document, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if source.media:
        kind = mimetypes.guess_type(source.media.name)[0] or "unknown"
        add(header, "MEDIA_DESCRIPTOR", MEDIA_URL=source.media.as_uri(), MIME_TYPE=kind)
    found = tiers(rows)
    annotations = [(name, row) for name, on_tier in found.items() for row in on_tier]
    ends = [(ms, i, side) for i, (_, row) in enumerate(annotations) for side, ms in enumerate(row[:2])]
    order, slots = add(document, "TIME_ORDER"), {}
    for number, (ms, i, side) in enumerate(sorted(ends), 1):
        slots[i, side] = f"ts{number}"
        add(order, "TIME_SLOT", TIME_SLOT_ID=f"ts{number}", TIME_VALUE=str(ms))
    elements = {name: add(document, "TIER", LINGUISTIC_TYPE_REF="default-lt", TIER_ID=name) for name in found}
    for i, (name, row) in enumerate(annotations):
        which = dict(ANNOTATION_ID=f"a{i + 1}", TIME_SLOT_REF1=slots[i, 0], TIME_SLOT_REF2=slots[i, 1])
        annotation = add(add(elements[name], "ANNOTATION"), "ALIGNABLE_ANNOTATION", which)
        add(annotation, "ANNOTATION_VALUE").text = row.label
    kind = dict(LINGUISTIC_TYPE_ID="default-lt", TIME_ALIGNABLE="true", GRAPHIC_REFERENCES="false")
    add(document, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(document)
    text = ElementTree.tostring(document, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def boris(rows, source):
    """Tabular events as BORIS 8 exports them (TSV): a START and a STOP a detection, in the order of time.

    Without media the observation is a live one. The subject is empty, or the number of the track from 2 on,
    see `tracks`. The comment of a START is the score.
    """
    of_media = ["Live observation", "NA", "0.0", "NA", "NA"]
    duration = "NA" if source.duration_ms is None else source.duration_ms / 1000
    if source.media:
        of_media = ["Media file(s)", f"player #1:{_one_line(str(source.media))}", "0.0", duration, "NA"]
    observation = [source.name, "", "", duration, *of_media]
    media = _one_line(str(source.media)) if source.media else "NA"
    events = []
    for (label, number), on_track in tracks(rows).items():
        subject = "" if number == 1 else number
        for row in on_track:  # at one time, what stops comes before what starts
            score = f"score {row.score:.3g}"
            events.append((row.start_ms, 1, label, number, [subject, label, "", "START"], score))
            events.append((row.end_ms, 0, label, number, [subject, label, "", "STOP"], ""))
    lines = [
        [*observation, *fields, f"{ms / 1000:.3f}", media, "NA", "NA", comment]
        for ms, *_, fields, comment in sorted(events)
    ]
    return _table([BORIS_COLUMNS, *lines], delimiter="\t")


FORMATS = {  # name -> (ending of its file, function of Rows and a Source that gives the text)
    "csv": (".csv", csv_table),
    "vtt": (".vtt", vtt),
    "srt": (".srt", srt),
    "eaf": (".eaf", eaf),
    "textgrid": (".TextGrid", textgrid),
    "audacity": (".txt", audacity),
    "boris": (".tsv", boris),
}


def require_known(formats):
    """Raises DataError for a name that is not in `FORMATS`."""
    for name in formats:
        if name not in FORMATS:
            known = ", ".join(FORMATS)
            raise DataError(f"--export names '{name}', which is no format; the formats are {known}.")


def suffixes(formats):
    """The endings of the files of these formats."""
    return [FORMATS[name][0] for name in formats]


def write(folder, name, detections, formats, min_score=0.0, duration_sec=None, media=None):
    """Writes `<folder>/<name>.EXT` for each format; an interrupted write leaves the old file.

    Args:
      folder: it is made.
      name: of the recording, as a file can be called.
      detections: [{"label", "segment": [start_sec, end_sec], "score"}], finite numbers.
      formats: names in `FORMATS`, see `require_known`.
      min_score: detections with a lower score are left out.
      duration_sec: length of the recording; None: not known.
      media: path of its video or sound; None: it has none, or it is not known.

    Returns:
      The number of detections written, see `rows_of`.
    """
    duration_ms = None if duration_sec is None else round(1000 * float(duration_sec))
    rows = rows_of(detections, min_score, duration_ms)
    source = Source(_one_line(name), duration_ms, media and pathlib.Path(media).absolute())
    for suffix, text_of in map(FORMATS.get, formats):
        with replacing(pathlib.Path(folder) / f"{name}{suffix}") as temporary:
            temporary.write_text(text_of(rows, source), encoding="utf-8", newline="\n")
    return len(rows)


def media_files(path, prefix=""):
    """{recording: path of its video or sound}, of a file or of a folder's files.

    Args:
      path: of the file or folder; one that is not there, or "", has none.
      prefix: that files may have before the name of the recording (`config.data.file_prefix`).
    """
    if not path:
        return {}
    path = pathlib.Path(path)
    files = [path] if path.is_file() else list_files(path, MEDIA_SUFFIXES)[0]
    files = [file for file in files if file.suffix.lower() in MEDIA_SUFFIXES]
    return {name: file for file in files for name in (file.stem.removeprefix(prefix), file.stem)}


def _one_line(text):
    """A text on one line: what `_NOT_IN_A_LINE` finds becomes a space."""
    return _NOT_IN_A_LINE.sub(" ", text)


def _span(row, point):
    """The times of a cue, such as 00:00:01.500 --> 00:00:02.000. point: before the milliseconds."""
    clocks = []
    for ms in row[:2]:
        seconds, ms = divmod(ms, 1000)
        hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
        clocks.append(f"{hour:02}:{minute:02}:{second:02}{point}{ms:03}")
    return " --> ".join(clocks)


def _table(lines, delimiter=","):
    """The text of a table with quotes where they are needed."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(lines)
    return text.getvalue()
