"""BORIS's tabular and aggregated events."""

import pytest

from tal_jax.data.labels.times import NO_ZONE
from tal_jax.errors import DataError
from tests.data.labels.case import actions, counted, read

TABULAR = ["Observation id", "Observation date", "Description", "Observation duration", "Observation type",
           "Source", "Time offset (s)", "Media duration (s)", "FPS", "Subject", "Behavior",
           "Behavioral category", "Modifier #1", "Behavior type", "Time", "Media file name", "Image index",
           "Image file path", "Comment"]  # fmt: skip
AGGREGATED = [*TABULAR[:3], "Observation type", "Source", "Time offset (s)", "Coding duration",
              "Media duration (s)", "FPS (frame/s)", "Subject",
              "Observation duration by subject by observation", "Behavior", "Behavioral category",
              "Behavior type", "Start (s)", "Stop (s)", "Duration (s)", "Media file name"]  # fmt: skip


def sheet(columns, rows, mark=","):
    lines = [mark.join(columns)] + [mark.join(str(row.get(c, "")) for c in columns) for row in rows]
    return "\n".join(lines) + "\n"


def event(kind, time, behavior="sit", subject="", modifier="", **more):
    of_media = {
        "Media duration (s)": "61.000",
        "FPS": "25.000",
        "Media file name": "/home/me/videos/cage1.mp4",
    }
    fields = {"Observation id": "day 1", "Source": "player #1:/home/me/videos/cage1.mp4"}
    fields |= {
        "Behavior": behavior,
        "Subject": subject,
        "Modifier #1": modifier,
        "Behavior type": kind,
        "Time": time,
    }
    return fields | of_media | more


@pytest.mark.parametrize("mark, suffix", [(",", "csv"), ("\t", "tsv")])
def test_boris_tabular_events(tmp_path, mark, suffix):
    rows = [
        event("START", 1.5, subject="cat"),
        event("START", 2, subject="dog"),  # of another subject, at the same time
        event("POINT", "2.250", "bark", "dog"),
        event("STOP", 3.25, subject="cat"),
        event("STOP", 4, subject="dog"),
        event("START", 4, subject="dog"),
        event("STOP", 5, subject="dog"),
    ]
    kind, labels = read(tmp_path, f"events.{suffix}", sheet(TABULAR, rows, mark))
    assert kind == "boris" and not labels.dropped and not labels.notes
    assert actions(labels) == [
        ("cage1", "bark", 2.25, 2.25),
        ("cage1", "sit", 1.5, 3.25),
        ("cage1", "sit", 2.0, 4.0),
        ("cage1", "sit", 4.0, 5.0),
    ]
    assert labels.recordings == {"cage1": dict(subjects={"cat", "dog"}, others=["day 1"], duration=61.0)}
    assert labels.rows[1].where == f"{tmp_path}/events.{suffix}, line 2"


def test_boris_starts_and_stops_without_each_other_are_counted(tmp_path):
    rows = [
        event("STOP", 1),
        event("START", 2, modifier="left"),
        event("STOP", 3, modifier="right"),
        event("START", 4, "run"),
        event("START", 5, "run"),
        event("STOP", 6, "run"),
    ]
    _, labels = read(tmp_path, "events.csv", sheet(TABULAR, rows))
    assert actions(labels) == [("cage1", "run", 5.0, 6.0)]
    assert counted(labels) == {
        "they are stops without a start (BORIS)": 2,
        "they are starts without a stop (BORIS)": 2,
    }
    places = labels.dropped["they are starts without a stop (BORIS)"]
    assert [place.split(", ")[1] for place in places] == ["line 5", "line 3"]
    modifiers = "modifiers are not read; the label is the behaviour (--label_column)."
    assert labels.notes == [f"{tmp_path}/events.csv: {modifiers}"]


def test_boris_as_older_versions_wrote_it(tmp_path):
    text = (
        "Observation id,day 1\n\nMedia file(s)\nPlayer #1,cage1.mp4\n\n"
        "Time,Media file path,Total length,FPS,Subject,Behavior,Behavioral category,Comment,Status\n"
        "00:01:01.500,cage1.mp4,90.0,25,No focal subject,sit,,,START\n"
        "00:01:02.000,cage1.mp4,90.0,25,No focal subject,sit,,,STOP\n"
    )
    kind, labels = read(tmp_path, "old.csv", text)
    assert kind == "boris" and actions(labels) == [("cage1", "sit", 61.5, 62.0)]
    assert labels.recordings["cage1"] == dict(subjects={""}, others=["old"], duration=90.0)
    assert labels.rows[0].where.endswith("line 7")


def test_boris_aggregated_events(tmp_path):
    def span(kind, start, stop):
        row = event(kind, 0) | {"Start (s)": start, "Stop (s)": stop, "Duration (s)": 1}
        return row

    rows = [span("STATE", 1.5, 2.5), span("POINT", 3, "NA"), span("POINT", 4, 4)]
    kind, labels = read(tmp_path, "all.tsv", sheet(AGGREGATED, rows, "\t"))
    assert kind == "boris"
    assert [row[2:] for row in actions(labels)] == [(1.5, 2.5), (3.0, 3.0), (4.0, 4.0)]


def test_an_observation_without_one_media_file_is_the_recording(tmp_path):
    live = {"Media file name": "NA", "Source": "NA", "Media duration (s)": "NA"}
    queued = {
        "Source": "player #1:a.mp4;b.mp4",
        "Media duration (s)": "60.0;30.0",
        "Media file name": "b.mp4",
    }
    rows = [event("POINT", 1, **live), event("POINT", 70, **queued | {"Observation id": "day 2"})]
    _, labels = read(tmp_path, "events.csv", sheet(TABULAR, rows))
    assert actions(labels) == [("day 1", "sit", 1.0, 1.0), ("day 2", "sit", 70.0, 70.0)]
    assert not any("duration" in known for known in labels.recordings.values())


def test_the_columns_of_boris_that_hold_the_labels_may_be_chosen(tmp_path):
    rows = [
        event("START", 1, modifier="left"),
        event("STOP", 2, modifier="left"),
        event("POINT", 3, modifier="NA"),
    ]
    _, labels = read(tmp_path, "events.csv", sheet(TABULAR, rows), label_column=("Behavior", "Modifier #1"))
    assert actions(labels) == [
        ("cage1", "sit", 1, 2),
        ("cage1", "left", 1, 2),
        ("cage1", "sit", 3, 3),
        ("cage1", "", 3, 3),
    ]
    with pytest.raises(DataError, match="has no column 'Mood'"):
        read(tmp_path, "events.csv", sheet(TABULAR, rows), label_column=("Mood",))
    assert not labels.notes
    flagged = [event(kind, time, modifier="True") for kind, time in (("START", 1), ("STOP", 2))]
    _, labels = read(tmp_path, "events.csv", sheet(TABULAR, flagged), label_column=("Modifier #1",))
    assert actions(labels) == [("cage1", "Modifier #1", 1, 2)]
    unset = [
        event("START", 5, modifier="0"),
        event("START", 6, modifier="0"),
        event("START", 7, modifier="0"),
    ]
    flagged = [row | {"Modifier #1": "1"} for row in flagged]
    _, labels = read(
        tmp_path, "events.csv", sheet(TABULAR, [*flagged, *unset]), label_column=("Modifier #1",)
    )
    assert actions(labels) == [("cage1", "Modifier #1", 1, 2)]
    assert counted(labels) == {"they are starts without a stop (BORIS)": 3}
    _, labels = read(tmp_path, "events.csv", sheet(TABULAR, rows), label_column=("Behavior",))
    assert "modifiers are not read" in labels.notes[0]


def test_boris_with_dates_and_decimal_commas(tmp_path):
    row = event("POINT", "2020-03-09T10:00:01.500", **{"Media duration (s)": "61,5"})
    _, labels = read(tmp_path, "events.tsv", sheet(TABULAR, [row], "\t"))
    assert labels.rows[0].clock == NO_ZONE and labels.recordings["cage1"]["duration"] == 61.5


def test_a_time_offset_of_boris_is_said(tmp_path):
    row = event("POINT", 12, **{"Time offset (s)": "10.0"})
    (note,) = read(tmp_path, "events.csv", sheet(TABULAR, [row]))[1].notes
    assert "'cage1' has a time offset in BORIS, 10.0; times are taken as they are" in note


@pytest.mark.parametrize(
    "row, sentence",
    [
        (
            event("BEGIN", 1),
            "events.csv, line 2: 'Behavior type' must be START, STOP or POINT, found 'BEGIN'",
        ),
        (event("START", "NA"), "events.csv, line 2: a time must be .* found 'NA'"),
    ],
)
def test_bad_boris_files_are_one_sentence(tmp_path, row, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "events.csv", sheet(TABULAR, [row]))


def test_starts_and_stops_of_two_observations_are_no_action(tmp_path):
    rows = [event("START", 50, **{"Observation id": "one"}), event("STOP", 51, **{"Observation id": "two"})]
    _, labels = read(tmp_path, "events.csv", sheet(TABULAR, rows))
    assert actions(labels) == [] and len(counted(labels)) == 2
