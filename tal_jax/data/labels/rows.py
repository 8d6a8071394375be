"""What a reader of labels is given, a `LabelFile` and `Options`, and what it gives: `Labels`."""

import codecs
import csv
import dataclasses
import functools
import io
import pathlib
import posixpath
import re
import unicodedata
import urllib.parse
import xml.etree.ElementTree
import xml.parsers.expat
from typing import NamedTuple

from tal_jax.data.csv_layout import COMMENTS, NULLS, text_of
from tal_jax.data.labels.times import FROM_START
from tal_jax.data.names import FILE_SUFFIXES
from tal_jax.errors import DataError
from tal_jax.runtime.json_files import read_json

HEAD_BYTES = 1 << 16  # of a file, by which its format is recognised
SOUND_SUFFIXES = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wma")
SUBJECTS = {"subject", "participant", "person", "sbj", "subj", "user"}  # words of names of columns
MEDIA_SUFFIXES = (*FILE_SUFFIXES, *SOUND_SUFFIXES, ".json", ".tsv", ".txt")
SUBSET_NAMES = {"training": "train", "testing": "test"}  # as configs/folder.py calls them
SUBSET_NAMES |= {name: name for name in ("train", "test", "validation", "val")}  # in small letters
SEPARATOR = re.compile(r"\A\ufeff?\"?sep=.\"?(?=\r?\n)")  # Excel's first line
FACTS = ("duration", "fps", "num_frames", "subset")  # that a file says of a recording beside its labels


class Row(NamedTuple):
    """One action as a file has it.

    Attributes:
        recording: its name, see `recording_name`.
        label: "" where the file has none.
        start_sec, end_sec: seconds; equal for a point in time, NaN where only the label is known.
        where: its place, which begins a sentence: "events.csv, line 3".
        clock: what the seconds count from, FROM_START, UTC or NO_ZONE.
    """

    recording: str
    label: str
    start_sec: float
    end_sec: float
    where: str
    clock: str = FROM_START


@dataclasses.dataclass
class Labels:
    """The labels of one file, and what the file says of its recordings.

    Attributes:
        rows: list of Row.
        recordings: name -> what the file says of it: "duration" in seconds, "fps", "num_frames", "subset";
            "first", `times.first_time` of the sample at second 0 of its rows;
            "subjects", a set of names, with "" if some rows name none; "others", other names of the
            recording. A recording without a row holds no action.
        dropped: reason -> places of what the reader leaves out.
        notes: sentences on what a person should know.
        classes: names in their order, of a file that fixes it.
        folders: name of a recording -> {path of its media file's folder: place that names it}.
        label_columns: set of the names of --label_column that the file has.
    """

    rows: list = dataclasses.field(default_factory=list)
    recordings: dict = dataclasses.field(default_factory=dict)
    dropped: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)
    classes: tuple = ()
    folders: dict = dataclasses.field(default_factory=dict)
    label_columns: set = dataclasses.field(default_factory=set)

    def name_media(self, path, where):
        """`recording_name` of a media file, whose folder is noted. where: the place that names it."""
        name, folder = recording_name(path), posixpath.normpath("/".join(_media_parts(path)[:-1]))
        if folder != ".":
            self.folders.setdefault(name, {}).setdefault(folder, where)
        return name

    def drop(self, reason, where):
        """Counts what the file has at the place `where` as left out. The reason follows "N dropped: "."""
        self.dropped.setdefault(reason, []).append(where)

    def know(self, name, subject=None, others=(), **facts):
        """Adds a recording, or facts of one. A fact that is None or 0 is left out; a first subset stays.

        subject: its name; "" where a row names none; None where rows name no subjects.
        """
        known = self.recordings.setdefault(name, {"subjects": set(), "others": []})
        subset = facts.pop("subset", None)
        if subset and not is_empty(subset):
            subset = SUBSET_NAMES.get(subset.casefold(), subset)
            first = known.setdefault("subset", subset)
            both = f"'{name:.60}' is of the subsets '{first:.40}' and '{subset:.40}' in one file"
            if first != subset and (note := f"{both}; the first counts.") not in self.notes:
                self.notes.append(note)
        known.update({field: value for field, value in facts.items() if value})
        if subject is not None:
            known["subjects"].add("" if is_empty(subject) else unicodedata.normalize("NFC", subject))
        known["others"] += [other for other in others if other not in (name, *known["others"])]


class Options(NamedTuple):
    """Options of the command line, for all files.

    Attributes:
        fps: frames or samples a second; None: not given.
        label_column: names of the columns, tiers or attributes with the labels; (): the reader finds them.
    """

    fps: float | None = None
    label_column: tuple = ()


class LabelFile:
    """A file of labels, read at most once in each form that is asked for.

    Attributes:
        path: pathlib.Path.
        suffix: in lower case.
        label_columns: set of the names of --label_column that it has, see `chosen_names`.
    """

    def __init__(self, path):
        """path: of the file. Raises OSError where it cannot be read."""
        self.path = pathlib.Path(path)
        self.suffix, self.label_columns = self.path.suffix.lower(), set()
        with self.path.open("rb") as file:
            self.head_bytes = file.read(HEAD_BYTES)

    @functools.cached_property
    def head(self):
        """The beginning of the file as text, "" where it is none. See `text`."""
        if self.head_bytes.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return _normal(self.head_bytes.decode("utf-16", errors="replace"))
        if b"\0" in self.head_bytes:
            return ""
        whole_lines = self.head_bytes.rfind(b"\n") + 1 if len(self.head_bytes) == HEAD_BYTES else 0
        raw = self.head_bytes[: whole_lines or None]
        return _normal(text_of(raw.removeprefix(codecs.BOM_UTF8)))

    @functools.cached_property
    def text(self):
        """The whole file in UTF-16 with its mark, or as `text_of` reads it; see `_normal`.

        Raises DataError for no text.
        """
        raw = self.path.read_bytes()
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return _normal(raw.decode("utf-16", errors="replace"))
        if b"\0" in raw:
            raise DataError(f"{self.path} is no text file; save the labels as text.")
        return _normal(text_of(raw.removeprefix(codecs.BOM_UTF8)))

    @functools.cached_property
    def json(self):
        """The content of a JSON file. Raises DataError, see `read_json`."""
        return read_json(self.path, "file of labels")

    @functools.cached_property
    def delimiter(self):
        """The character between cells of a table: the commonest of tab, semicolon and comma in line 1."""
        lines = [line for line in self.head.splitlines() if line.strip()]
        lines = [line for line in lines if not line.lstrip().startswith(COMMENTS)] or lines
        return max("\t;,", key=[*lines, ""][0].count)

    def head_cells(self, most=60):
        """The cells of the first lines of a table, without blanks around them; a comment has none."""
        rows = csv.reader(self.without_comments(self.head).splitlines()[:most], delimiter=self.delimiter)
        try:
            return [[cell.strip() for cell in row] for row in rows]
        except csv.Error:
            return []

    def without_comments(self, text):
        """The text of a table with an empty line for each comment, which begins with a mark of COMMENTS.

        Above the line of names it has fewer delimiters than this line, and below it none.
        """
        lines, sign = text.split("\n"), self.delimiter
        marked = [line.lstrip().startswith(COMMENTS) for line in lines]
        head = next((i for i, line in enumerate(lines) if line.strip() and not marked[i]), 0)
        most = [
            lines[head].count(sign) if i < head else min(1, lines[head].count(sign))
            for i in range(len(lines))
        ]
        is_comment = [
            marked[i] and '"' not in line and line.count(sign) < most[i] for i, line in enumerate(lines)
        ]
        return "\n".join("" if found else line for found, line in zip(is_comment, lines))

    def records(self):
        """Each line of a table with its cells: (its number, list of texts).

        Raises DataError for a quote that nothing closes, and for what is no table.
        """
        text = f"{self.without_comments(self.text)}\n{END}"
        reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter), 1
        try:
            for cells in reader:
                begin, line = line, reader.line_num + 1
                if cells and END in cells[-1]:
                    if cells != [END]:
                        what = 'a quote (") that nothing closes, so that all lines below it are one cell'
                        raise DataError(f"{self.path}, line {begin} has {what}; close it, or take it out.")
                    return
                yield reader.line_num, cells
        except csv.Error as error:
            raise DataError(f"{self.path}, line {reader.line_num}: {error}; correct the line.") from error

    def table(self, is_header=any):
        """The rows of a table: (names, [(where, {name: cell})]).

        Args:
            is_header: cells of a line -> whether it is the line of names; lines before it are not read.

        Raises:
            DataError: there is no such line, it has a name twice, or a line has more cells than names.
        """
        names, rows = None, []
        for line, cells in self.records():
            cells = [cell.strip() for cell in cells]
            if names is None:
                names = cells if any(cells) and is_header(cells) else None
                while names and not names[-1]:
                    names.pop()
            elif any(cells):
                where = f"{self.path}, line {line}"
                if any(cells[len(names) :]):
                    what = f"{len(cells)} cells, but names for {len(names)}"
                    quotes = f"put a cell that holds '{self.delimiter}' into quotes"
                    raise DataError(f"{where} has {what}; {quotes}, or name all columns.")
                rows.append((where, dict(zip(names, cells + [""] * (len(names) - len(cells))))))
        if names is None:
            raise DataError(f"{self.path}: the file has no line of names; write one above the labels.")
        twice = next((name for name in names if name and names.count(name) > 1), None)
        if twice:
            raise DataError(f"{self.path}: two columns are called '{twice:.60}'; rename one.")
        return names, rows

    @functools.cached_property
    def xml(self):
        """The root element of an XML file; each element has its line in the attribute "line of the file".

        Raises DataError for a damaged file, and for one with a document type: its entities could grow without
        end or name other files, and no program of labels writes one.
        """
        builder, parser = xml.etree.ElementTree.TreeBuilder(), xml.parsers.expat.ParserCreate()

        def start(tag, attributes):
            builder.start(tag, attributes | {LINE: str(parser.CurrentLineNumber)})

        def refuse(*_):
            raise DataError(f"{self.path} has a document type (<!DOCTYPE), which is not read; remove it.")

        parser.StartElementHandler, parser.EndElementHandler = start, builder.end
        parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
        try:
            parser.Parse(self.path.read_bytes(), True)
            return builder.close()
        except (xml.parsers.expat.ExpatError, ValueError, LookupError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.path} is damaged, or no XML: {error}.") from error


def _normal(text):
    """A text in Unicode form NFC, with an empty line for Excel's first one, "sep=;"."""
    return unicodedata.normalize("NFC", SEPARATOR.sub("", text))


LINE = "line of the file"
END = "\x1e"  # a line of its own below a table, by which an open quote is found


def chosen_names(names, options, file, what):
    """Those of the names that --label_column names. Raises DataError where it names none of them.

    Args:
        names: of the columns, tiers or attributes of a file.
        options: Options; without `label_column` all are chosen.
        file: LabelFile.
        what: they are, for the sentence: "tier".
    """
    if not options.label_column:
        return [*names]
    normal = {name: unicodedata.normalize("NFC", name) for name in names}
    chosen = [name for name in names if normal[name] in options.label_column]
    file.label_columns.update(normal[name] for name in chosen)
    if not chosen:
        asked, have = ", ".join(options.label_column), ", ".join(map(repr, names)) or "none"
        raise DataError(f"{file.path} has no {what} '{asked:.100}' (--label_column); it has {have:.400}.")
    return chosen


@functools.lru_cache(4096)
def recording_name(text):
    """The name of the recording that a path or an address of a media file means: the last part, no suffix."""
    name = _media_parts(text)[-1]
    suffix = pathlib.PurePath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in MEDIA_SUFFIXES else name


def _media_parts(text):
    """The parts of a path or an address of a media file, the last of which is the name of the file."""
    text = text.strip()
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+:", text) or text.startswith("/data/local-files/?d="):
        path, query = (urllib.parse.unquote(part) for part in (text + "?").split("?")[:2])
        text = query.removeprefix("d=") if query.startswith("d=") else path
    return re.split(r"[/\\]", text)


def is_empty(cell):
    """Whether a cell holds nothing: no text, or NA, NaN, null, none."""
    return cell.strip().lower() in NULLS


def flag_of(cell):
    """ "1" or "0" of a cell that says so, as 1.0, True and false do; any other cell as it is."""
    return {"true": "1", "false": "0", "1.0": "1", "0.0": "0"}.get(cell.lower(), cell)
