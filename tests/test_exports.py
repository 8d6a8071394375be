"""Detections in the formats of other programs, read back with parsers of others where they exist."""

import csv
import html
import io
import json
import re
import shutil
from xml.etree import ElementTree

import numpy as np
import pympi
import pytest

from tal_jax import evaluate, exports, predict, train
from tal_jax.data.detections_file import write_detections
from tal_jax.errors import DataError
from tal_jax.exports import Row
from tests.conftest import FPS, RECORDINGS, signal

ODD = 'run, "fast" <b> & 走る --> ü'


def found(*rows):
    """Detections of (label, start, end, score)."""
    return [{"label": label, "segment": [start, end], "score": score} for label, start, end, score in rows]


DETECTIONS = found(
    (ODD, 12.3456, 20.0, 0.9),
    ("walk", 1.0, 5.0, 0.6),
    ("walk", 4.0, 6.5, 0.8),  # overlaps the one before, and is surer
    ("walk", 6.5, 7.0, 0.3),  # touches
    ("walk", 2.0, 6.0, 0.2),  # overlaps both
    ("sit\r\ndown\there", 3700.0, 3723.0075, 0.5),
)
ON_ONE_LINE = "sit  down here"


@pytest.fixture
def written(tmp_path):
    """Function (name of a format, detections, **arguments of `exports.write`) -> text of the file."""

    def write(name, detections, **arguments):
        arguments = {"duration_sec": 4000.0} | arguments
        exports.write(tmp_path / "out", "rec", detections, [name], **arguments)
        (path,) = (tmp_path / "out").iterdir()  # and no unfinished file
        text = path.read_bytes().decode("utf-8")
        path.unlink()
        return text

    return write


# What is written


def test_rows_are_in_the_order_of_time_and_hold_what_scores_enough():
    detections = found(("b", 2, 3, 0.5), ("a", 1.0004, 1.9996, 0.2), ("c", 0, 1, 0.19), ("a", 2, 3, 1.0))
    rows = exports.rows_of(detections, min_score=0.2)
    assert rows == [Row(1000, 2000, "a", 0.2), Row(2000, 3000, "a", 1.0), Row(2000, 3000, "b", 0.5)]


def test_times_are_those_of_the_recording_and_each_row_lasts():
    detections = found(
        ("cut", -1, 1, 1), ("cut", 9, 11, 1), ("outside", 10, 12, 1), ("outside", -2, 0, 1),
        ("reversed", 3, 2, 1), ("a moment", 5.0001, 5.0004, 1),
    )  # fmt: skip
    assert exports.rows_of(detections, 0, 10_000) == [Row(0, 1000, "cut", 1), Row(9000, 10_000, "cut", 1)]
    assert exports.rows_of(detections[1:3]) == [
        Row(9000, 11_000, "cut", 1),
        Row(10_000, 12_000, "outside", 1),
    ]


def test_the_surest_of_overlapping_detections_are_on_the_first_track():
    rows = exports.rows_of(DETECTIONS)
    tracks = exports.tracks(rows)
    walks = {
        number: [row[:2] for row in on_track]
        for (label, number), on_track in tracks.items()
        if label == "walk"
    }
    assert walks == {1: [(4000, 6500), (6500, 7000)], 2: [(1000, 5000)], 3: [(2000, 6000)]}
    assert sorted(row for on_track in tracks.values() for row in on_track) == rows  # none is lost


def test_no_rows_overlap_on_a_track_whatever_they_are():
    rng = np.random.default_rng(0)
    starts, lengths, scores = rng.uniform(0, 50, 300), rng.exponential(2, 300), rng.random(300)
    rows = exports.rows_of(found(*zip("abc" * 100, starts, starts + lengths, scores)))
    tracks = exports.tracks(rows)
    assert sorted(row for on_track in tracks.values() for row in on_track) == rows
    for on_track in tracks.values():
        assert all(one.end_ms <= other.start_ms for one, other in zip(on_track, on_track[1:]))


def test_a_class_that_is_called_like_a_second_tier_keeps_its_own():
    rows = exports.rows_of(found(("a", 0, 2, 0.9), ("a", 1, 3, 0.8), ("a_2", 1, 3, 0.7), ("a_2_", 0, 1, 0.7)))
    tiers = exports.tiers(rows)
    assert {name: [(row.label, row.start_ms) for row in on_tier] for name, on_tier in tiers.items()} == {
        "a": [("a", 0)],
        "a_2__": [("a", 1000)],
        "a_2": [("a_2", 1000)],
        "a_2_": [("a_2_", 0)],
    }


def test_numbers_of_numpy_and_of_float32_are_numbers():
    segment = np.array([0.5, 1.25], np.float32)
    assert exports.rows_of([{"label": "a", "segment": segment, "score": np.float32(0.5)}]) == [
        Row(500, 1250, "a", 0.5)
    ]


# The formats


def test_csv(written):
    rows = list(csv.reader(io.StringIO(written("csv", DETECTIONS, min_score=0.5))))
    assert rows == [
        ["recording", "start", "end", "label", "score"],
        ["rec", "1.0", "5.0", "walk", "0.6"],
        ["rec", "4.0", "6.5", "walk", "0.8"],
        ["rec", "12.346", "20.0", ODD, "0.9"],
        ["rec", "3700.0", "3723.008", ON_ONE_LINE, "0.5"],
    ]
    assert written("csv", []) == "recording,start,end,label,score\n"


CUE = re.compile(r"(?:(\d+)\n)?(\d\d+:\d\d:\d\d[.,]\d{3}) --> (\d\d+:\d\d:\d\d[.,]\d{3})\n(.+)\n(?:\n|$)")


def test_web_vtt(written):
    text = written("vtt", DETECTIONS, min_score=0.5)
    head, cues = text[:8], CUE.findall(text[8:])
    assert head == "WEBVTT\n\n" and CUE.sub("", text[8:]) == ""
    assert [cue[1:3] for cue in cues] == [
        ("00:00:01.000", "00:00:05.000"),
        ("00:00:04.000", "00:00:06.500"),
        ("00:00:12.346", "00:00:20.000"),
        ("01:01:40.000", "01:02:03.008"),
    ]
    assert cues[2][3] == 'run, "fast" &lt;b&gt; &amp; 走る --&gt; ü' and html.unescape(cues[2][3]) == ODD
    assert cues[3][3] == ON_ONE_LINE
    assert written("vtt", []) == "WEBVTT\n"


def test_srt(written):
    text = written("srt", DETECTIONS, min_score=0.5)
    assert CUE.sub("", text) == ""
    assert CUE.findall(text) == [
        ("1", "00:00:01,000", "00:00:05,000", "walk"),
        ("2", "00:00:04,000", "00:00:06,500", "walk"),
        ("3", "00:00:12,346", "00:00:20,000", ODD),
        ("4", "01:01:40,000", "01:02:03,008", ON_ONE_LINE),
    ]
    late = written("srt", found(("a", 360_000, 360_001, 1)), duration_sec=None)
    assert late == "1\n100:00:00,000 --> 100:00:01,000\na\n" and written("srt", []) == ""


def test_audacity(written):
    lines = written("audacity", DETECTIONS, min_score=0.5).splitlines()
    assert [line.split("\t") for line in lines] == [
        ["1.000000", "5.000000", "walk"],
        ["4.000000", "6.500000", "walk"],
        ["12.346000", "20.000000", ODD],
        ["3700.000000", "3723.008000", ON_ONE_LINE],
    ]
    assert written("audacity", []) == ""


def read_back(make, text, path):
    """What a reader of pympi makes of a file with this text."""
    path.write_text(text, encoding="utf-8")
    return make(str(path))


def textgrid_of(text, tmp_path):
    """{name of a tier: its intervals (start, end, text)} of a TextGrid, and its end in seconds."""
    grid = read_back(lambda path: pympi.TextGrid(path, codec="utf-8"), text, tmp_path / "a.TextGrid")
    assert all(
        (tier.xmin, tier.xmax, tier.tier_type) == (0, grid.xmax, "IntervalTier") for tier in grid.tiers
    )
    return {tier.name: tier.intervals for tier in grid.tiers}, grid.xmax


def test_textgrid(written, tmp_path):
    tiers, end = textgrid_of(written("textgrid", DETECTIONS), tmp_path)
    assert end == 4000 and list(tiers) == [ODD, ON_ONE_LINE, "walk", "walk_2", "walk_3"]
    assert tiers["walk"] == [(0, 4, ""), (4, 6.5, "walk"), (6.5, 7, "walk"), (7, 4000, "")]
    assert tiers["walk_2"] == [(0, 1, ""), (1, 5, "walk"), (5, 4000, "")]
    assert tiers[ODD] == [(0, 12.346, ""), (12.346, 20, ODD), (20, 4000, "")]
    for intervals in tiers.values():  # they cover the tier
        assert intervals[0][0] == 0 and intervals[-1][1] == end
        assert all(one[1] == other[0] for one, other in zip(intervals, intervals[1:]))


def test_a_textgrid_always_has_a_tier_and_an_end(written, tmp_path):
    assert textgrid_of(written("textgrid", [], duration_sec=2.5), tmp_path) == (
        {"action": [(0, 2.5, "")]},
        2.5,
    )
    assert textgrid_of(written("textgrid", [], duration_sec=None), tmp_path) == ({"action": [(0, 1, "")]}, 1)
    whole = written("textgrid", found(("a", 0, 3, 1)), duration_sec=None)
    assert textgrid_of(whole, tmp_path) == ({"a": [(0, 3, "a")]}, 3)


def test_eaf(written, tmp_path):
    text = written("eaf", DETECTIONS, media=tmp_path / "a & b.mp4")
    document = read_back(pympi.Eaf, text, tmp_path / "a.eaf")
    tiers = {name: document.get_annotation_data_for_tier(name) for name in document.get_tier_names()}
    assert {name: sorted(annotations) for name, annotations in tiers.items()} == {
        ODD: [(12346, 20000, ODD)],
        ON_ONE_LINE: [(3700000, 3723008, ON_ONE_LINE)],
        "walk": [(4000, 6500, "walk"), (6500, 7000, "walk")],
        "walk_2": [(1000, 5000, "walk")],
        "walk_3": [(2000, 6000, "walk")],
    }
    (media,) = document.get_linked_files()
    assert media["MEDIA_URL"] == (tmp_path / "a & b.mp4").as_uri() and media["MIME_TYPE"] == "video/mp4"
    root = ElementTree.fromstring(text.encode())
    assert [child.tag for child in root] == ["HEADER", "TIME_ORDER", *5 * ["TIER"], "LINGUISTIC_TYPE"]
    times = [int(slot.get("TIME_VALUE")) for slot in root.find("TIME_ORDER")]
    assert times == sorted(times) and len(times) == 2 * len(DETECTIONS)
    used = [
        a.get(ref) for a in root.iter("ALIGNABLE_ANNOTATION") for ref in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")
    ]
    assert sorted(used) == sorted(slot.get("TIME_SLOT_ID") for slot in root.find("TIME_ORDER"))  # each once


def test_eaf_of_nothing(written, tmp_path):
    document = read_back(pympi.Eaf, written("eaf", []), tmp_path / "a.eaf")
    assert not [*document.get_tier_names()] and not document.get_linked_files()


def paired(events):
    """[(behavior, start, stop)] of the rows of BORIS: a STOP ends the START of its subject and behavior."""
    begun, pairs = {}, []
    for event in events:
        who = event["Subject"], event["Behavior"]
        if event["Behavior type"] == "START":
            assert who not in begun
            begun[who] = float(event["Time"])
        else:
            pairs.append((event["Behavior"], begun.pop(who), float(event["Time"])))
    assert not begun
    return pairs


def test_boris(written):
    events = list(csv.DictReader(io.StringIO(written("boris", DETECTIONS, media="clip.mp4")), delimiter="\t"))
    assert list(events[0]) == list(exports.BORIS_COLUMNS)
    assert [float(event["Time"]) for event in events] == sorted(float(event["Time"]) for event in events)
    expected = [(row.label, row.start_ms / 1000, row.end_ms / 1000) for row in exports.rows_of(DETECTIONS)]
    assert sorted(paired(events)) == sorted(expected)
    assert {event["Observation id"] for event in events} == {"rec"}
    assert all(event["Media file name"].endswith("clip.mp4") for event in events)
    assert events[0]["Media duration (s)"] == events[0]["Observation duration"] == "4000.0"
    assert [e["Comment"] for e in events if e["Behavior"] == ODD] == ["score 0.9", ""]
    (live,) = {event["Observation type"] for event in csv.DictReader(
        io.StringIO(written("boris", DETECTIONS, duration_sec=None)), delimiter="\t")}  # fmt: skip
    assert live == "Live observation"
    assert written("boris", []).splitlines() == ["\t".join(exports.BORIS_COLUMNS)]


def test_what_no_xml_can_hold_is_a_space(written, tmp_path):
    name, label = "a\udcff", "a\x00b\ufffec"
    exports.write(tmp_path, "a", found((label, 1, 2, 1)), exports.FORMATS)
    assert exports._one_line(name) == "a "
    assert pympi.Eaf(str(tmp_path / "a.eaf")).get_annotation_data_for_tier("a b c") == [(1000, 2000, "a b c")]


def test_media_are_found_by_the_names_of_recordings(tmp_path):
    for name in ("a.wav", "v_b.MP4", "c.npy", "d.csv"):
        (tmp_path / name).write_bytes(b"")
    media = exports.media_files(tmp_path, "v_")
    assert media == {"a": tmp_path / "a.wav", "b": tmp_path / "v_b.MP4", "v_b": tmp_path / "v_b.MP4"}
    assert exports.media_files(tmp_path / "a.wav") == {"a": tmp_path / "a.wav"}
    assert exports.media_files(tmp_path / "c.npy") == exports.media_files("") == {}
    assert exports.media_files(tmp_path / "nowhere") == {}


# In the modes


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """(config, workdir) of a toy that has trained a little; half of what it finds in "sunday" scores enough."""
    workdir = tmp_path_factory.mktemp("run")
    config = tiny("toy", epochs=2)
    train.train(config, workdir)
    config.predict.min_score = float(np.median([d["score"] for d in detections_in(workdir, "sunday")]))
    return config, workdir


def detections_in(workdir, name):
    return json.loads((workdir / "detections.json").read_text())["results"][name]


def test_predict_writes_each_format_beside_the_json(run, tmp_path):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    np.save(tmp_path / "new.npy", signal(200, [("fast", 40, 72), ("slow", 100, 140)], seed=9))
    predict.predict(config, tmp_path / "run", str(tmp_path / "new.npy"), export=[*exports.FORMATS])
    folder = tmp_path / "run" / "predictions"
    endings = [".TextGrid", ".csv", ".eaf", ".html", ".json", ".png", ".srt", ".tsv", ".txt", ".vtt"]
    assert sorted(path.name for path in folder.iterdir()) == [f"new{ending}" for ending in endings]
    detections = json.loads((folder / "new.json").read_text())["results"]["new"]
    least = config.predict.min_score
    shown = sorted([d["label"], *d["segment"]] for d in detections if d["score"] >= least)
    with (folder / "new.csv").open() as file:
        rows = sorted([row["label"], float(row["start"]), float(row["end"])] for row in csv.DictReader(file))
    assert 0 < len(rows) == len(shown) < len(detections)
    for row, one in zip(rows, shown):
        assert row[0] == one[0] and row[1:] == pytest.approx(one[1:], abs=5.1e-4)
    assert pympi.TextGrid(str(folder / "new.TextGrid")).xmax == 20
    with pytest.raises(
        DataError, match="--export names 'vtx', which is no format; the formats are csv, vtt, srt"
    ):
        predict.predict(config, tmp_path / "run", "nothing", export=["csv", "vtx"])


def test_evaluate_writes_each_recording(run, tmp_path, caplog):
    config, workdir = run
    shutil.copytree(workdir, tmp_path / "run")
    caplog.set_level("INFO")
    evaluate.evaluate(config, tmp_path / "run", export=["textgrid", "csv"])
    folder = tmp_path / "run" / "exports"
    assert sorted(path.name for path in folder.iterdir()) == ["sunday.TextGrid", "sunday.csv"]
    assert pympi.TextGrid(str(folder / "sunday.TextGrid")).xmax == RECORDINGS["sunday"][0] / FPS
    detections, least = detections_in(tmp_path / "run", "sunday"), config.predict.min_score
    shown = sum(d["score"] >= least for d in detections)
    assert len((folder / "sunday.csv").read_text().splitlines()) == 1 + shown and 0 < shown < len(detections)
    count = f"textgrid, csv of 1 recordings, {shown} of {len(detections)} detections"
    line = f"{count} (config.predict.min_score is {least:g})."
    assert f"Written to {folder}: {line}" in caplog.text
    with pytest.raises(DataError, match="--export names 'elan', which is no format"):
        evaluate.evaluate(config, tmp_path / "nowhere", export=["elan"])


def test_anyones_detections_are_exported_too(tiny, tmp_path):
    """Of a recording that the annotations lack, the duration is not known."""
    results = {"sunday": found(("slow", 1, 4, 0.9)), "other": found(("slow", 1, 400, 0.9))}
    write_detections(tmp_path / "found.json", results)
    evaluate.evaluate(tiny("toy"), tmp_path / "run", tmp_path / "found.json", export=["textgrid"])
    ends = {path.stem: pympi.TextGrid(str(path)).xmax for path in (tmp_path / "run" / "exports").iterdir()}
    assert ends == {"sunday": 9, "other": 400}
