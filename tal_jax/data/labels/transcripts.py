"""Labels of programs that write tracks along a recording: ELAN, Praat, Audacity.

ELAN's and Praat's files are read here: pympi, their library, takes 5.6e-17 in a TextGrid for 17, refuses one
in UTF-16, as Praat writes it, and expands the entities of an .eaf.
"""

import bisect
import re

from tal_jax.data.labels.rows import LINE, Labels, Row, chosen_names, recording_name
from tal_jax.data.labels.times import time_of
from tal_jax.errors import DataError

ONE_TIER = "default"  # the tier that ELAN gives a new file, no name of a class
PRAAT = re.compile(
    r'"(?P<text>(?:[^"]|"")*)"|(?P<flag><[a-z]+>)|![^\n]*'
    r"|(?<!\S)(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?!\S)"
)


def read_elan(file, options):
    """The Labels of an ELAN file (.eaf): every annotation of the tiers that hang from no other tier.

    The label is the text of an annotation, or the name of its tier where it has none. --label_column names
    the tiers to read instead. The recording is the first media file, with its offset, or else the .eaf
    itself; a participant is a subject.
    """
    root, found = file.xml, Labels()
    if root.tag != "ANNOTATION_DOCUMENT":
        raise DataError(f"{file.path} is no ELAN file: it begins with <{root.tag:.40}>.")
    header = root.find("HEADER")
    units = "milliseconds" if header is None else header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise DataError(f"{file.path}: its times are in {units:.40}; ELAN's are in milliseconds.")
    name, others, shift_sec = _media(root, file)
    slots = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    tiers = {tier.get("TIER_ID", ""): tier for tier in root.iter("TIER")}
    chosen = chosen_names([*tiers], options, file, "tier")
    if not options.label_column:
        chosen = [tier for tier in chosen if not tiers[tier].get("PARENT_REF")]
        below = [tier for tier in tiers if tier not in chosen]
        if below:
            listed = ", ".join(map(repr, below))
            found.notes.append(f"{file.path}: tiers below another are not read: {listed} (--label_column).")
    found.know(name, others=others)
    of_id = {element.get("ANNOTATION_ID"): element for element in root.iter("ALIGNABLE_ANNOTATION")}
    of_id |= {element.get("ANNOTATION_ID"): element for element in root.iter("REF_ANNOTATION")}
    for tier in chosen:
        found.know(name, subject=tiers[tier].get("PARTICIPANT", "").strip() or None)
        for annotation in tiers[tier].findall("ANNOTATION/*"):
            where = f"{file.path}, line {annotation.get(LINE)}"
            ends = [slots.get(slot) for slot in _slots(annotation, of_id)]
            if None in ends:
                found.drop("they have no times of their own (ELAN)", where)
                continue
            label = " ".join((annotation.findtext("ANNOTATION_VALUE") or "").split())
            label = label or ("" if tier == ONE_TIER else tier)
            start_sec, end_sec = (time_of(end, where, 1e-3)[0] + shift_sec for end in ends)
            found.rows.append(Row(name, label, start_sec, end_sec, where))
    return found


def _media(root, file):
    """(name of the recording, other names, seconds from ELAN's zero to that of the media) of an ELAN file."""
    media = []
    for element in root.iter("MEDIA_DESCRIPTOR"):
        path = element.get("MEDIA_URL") or element.get("RELATIVE_MEDIA_URL") or ""
        shift_sec, _ = time_of(
            element.get("TIME_ORIGIN", "0"), f"{file.path}, line {element.get(LINE)}", 1e-3
        )
        if recording_name(path):
            media.append((recording_name(path), shift_sec))
    if not media:
        return file.path.stem, [], 0.0
    (name, shift_sec), *more = media
    return name, [*(other for other, shift in more if shift == shift_sec), file.path.stem], shift_sec


def _slots(annotation, of_id):
    """The two slots of an ELAN annotation's times, or of the one it refers to; [None] if there is none."""
    for _ in range(100):  # a chain of tiers is short, and damage could make it a ring
        if annotation is None or annotation.tag == "ALIGNABLE_ANNOTATION":
            break
        annotation = of_id.get(annotation.get("ANNOTATION_REF"))
    if annotation is None:
        return [None]
    return [annotation.get("TIME_SLOT_REF1"), annotation.get("TIME_SLOT_REF2")]


def read_textgrid(file, options):
    """The Labels of a Praat TextGrid, long or short: every interval with a text, and every point.

    The recording is called like the file and ends where the TextGrid ends. --label_column names the tiers to
    read; all by default.
    """
    if file.head_bytes.startswith(b"ooBinaryFile"):
        raise DataError(f"{file.path} is a binary TextGrid; in Praat, save it as a text file.")
    values = _Praat(file)
    found, name = Labels(), file.path.stem
    if [values.take("text")[0] for _ in range(2)] != ["ooTextFile", "TextGrid"]:
        raise DataError(f"{file.path} is no TextGrid; in Praat, save the TextGrid as a text file.")
    values.take("number")
    found.know(name, duration=float(values.take("number")[0]))
    tiers = []
    if values.take("flag")[0] == "<exists>":
        for _ in range(values.count()):
            kind, tier = values.take("text")[0], values.take("text")[0]
            values.take("number"), values.take("number")
            tiers.append((tier, [_praat_row(values, kind, name) for _ in range(values.count())]))
    chosen = chosen_names(dict.fromkeys(tier for tier, _ in tiers), options, file, "tier")
    found.rows = [row for tier, rows in tiers for row in rows if tier in chosen and row.label]
    return found


def _praat_row(values, kind, name):
    """The Row of the next interval or point of a tier of this kind."""
    start, where = values.take("number")
    end = values.take("number")[0] if kind == "IntervalTier" else start
    return Row(name, " ".join(values.take("text")[0].split()), float(start), float(end), where)


class _Praat:
    """The values of a Praat text file in order: texts in quotes, numbers that stand alone and <flags>.

    All else in it, as "xmin =" and "intervals [1]:", is for people.
    """

    def __init__(self, file):
        self._path = file.path
        self._found = (match for match in PRAAT.finditer(file.text) if match.lastgroup)
        self._ends = [match.start() for match in re.finditer("\n", file.text)]

    def take(self, kind):
        """(the next value as a text, its place). Raises DataError if it is not of the kind."""
        match = next(self._found, None)
        line = bisect.bisect_left(self._ends, match.start()) + 1 if match else len(self._ends) + 1
        where = f"{self._path}, line {line}"
        if match is None or match.lastgroup != kind:
            found = f"{match[0]:.40}" if match else "the end of the file"
            raise DataError(f"{where}: a {kind} is missing, found {found}; save the TextGrid again in Praat.")
        return match[kind].replace('""', '"'), where

    def count(self):
        """The next value, a number of things that follow."""
        text, where = self.take("number")
        if not text.isdecimal():
            raise DataError(
                f"{where}: a number of intervals is {text:.40}; save the TextGrid again in Praat."
            )
        return int(text)


def is_audacity(head):
    """Whether the first line of a text is "start TAB end TAB label", seconds."""
    lines = [line for line in head.splitlines() if line.strip()]
    return bool(lines) and bool(re.match(r"\s*-?\d+([.,]\d+)?\t-?\d+([.,]\d+)?(\t|$)", lines[0]))


def read_audacity(file, options):
    """The Labels of a label track of Audacity: lines "start TAB end TAB label". The recording is called like
    the file; lines of frequencies, which begin with a backslash, are not read.
    """
    found, name = Labels(), file.path.stem
    found.know(name)
    for number, line in enumerate(file.text.splitlines(), 1):
        cells, where = line.split("\t"), f"{file.path}, line {number}"
        if not line.strip() or line.startswith("\\"):
            continue
        if len(cells) < 2:
            raise DataError(f"{where} must be 'start TAB end TAB label', found {line!r:.60}.")
        start_sec, end_sec = (time_of(cell, where, 1.0)[0] for cell in cells[:2])
        found.rows.append(Row(name, " ".join(" ".join(cells[2:]).split()), start_sec, end_sec, where))
    return found
