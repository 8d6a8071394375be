"""From rows to an annotation file: what is dropped, what is changed, what is known of a recording."""

import json
import math
import wave

import numpy as np
import pytest

from tal_jax.annotations import overlap_counts
from tal_jax.data.annotations import parse_annotations
from tal_jax.data.labels.joined import join_labels
from tal_jax.data.labels.media import Media
from tal_jax.data.labels.times import NO_ZONE, UTC
from tal_jax.errors import DataError
from tests.data.labels.case import folder_of, labels, read, segments
from tests.data.test_video import CODINGS, numbered, write_video


def test_the_last_file_of_a_recording_replaces_its_labels_alone(tmp_path):
    old = labels(
        ("a", "walk", 1.0, 2.0), ("b", "walk", 1.0, 2.0), a=dict(subset="test", fps=50, subject="P1")
    )
    old.know("v_a", fps=25)  # the same file
    new = labels(("v_a", "run", 3.0, 4.0), v_a=dict(duration=9.0))
    media = folder_of(tmp_path, a=9, b=9)
    joined = join_labels([old, new], media, replace=True)
    assert segments(joined) == [("run", 3.0, 4.0)] and segments(joined, "b") == [("walk", 1.0, 2.0)]
    entry = joined.content["database"]["a"]
    assert (entry["subset"], entry["subject"]) == ("test", "P1")
    assert joined.dropped == {"a later file has their recording (--replace)": ["line 1"]}


def test_every_reason_to_drop_and_every_change_is_told():
    rows = [
        ("a", "walk", 1, 2),
        ("a", "", 1, 2),
        ("a", " walk ", 1, 2),  # the first one again
        ("a", "run", 3, 2.5),
        ("a", "jump", 4, 4),
        ("a", "walk", -2, -1),
        ("a", "walk", -1, 0.5),
        ("a", "walk", 9, 11),
        ("a", "walk", 10, 12),
    ]
    joined = join_labels([labels(*rows, a={"duration": 10})])
    assert segments(joined) == [("walk", 0, 0.5), ("walk", 1, 2), ("walk", 9, 10)]
    assert joined.dropped == {
        "they have no label": ["line 2"],
        "they are there before, with the same label and times": ["line 3"],
        "they end before they start": ["line 4"],
        "they have no length (--widen_sec=1 makes a point an action of 1 s)": ["line 5"],
        "they end before their recording begins": ["line 6"],
        "they start after their recording has ended": ["line 9"],
    }
    assert joined.changed == {
        "they start before their recording begins and are cut there": ["line 7"],
        "they end after their recording has ended and are cut there": ["line 8"],
    }
    kept = len(segments(joined)) + sum(map(len, joined.dropped.values()))
    assert kept == len(rows)  # each row is either kept or told


def test_points_are_widened_around_their_time():
    joined = join_labels([labels(("a", "x", 0.1, 0.1), ("a", "x", 5, 5), a={"duration": 5.1})], widen_sec=0.5)
    assert segments(joined) == [("x", 0, 0.35), ("x", 4.75, 5.1)]
    assert joined.changed["they have no length and are widened to 0.5 s"] == ["line 1", "line 2"]


def test_points_outside_their_recording_are_dropped_widened_or_not():
    rows = [("a", "x", -0.1, -0.1), ("a", "x", 10.1, 10.1), ("a", "x", 10.0, 10.0)]
    for widen_sec, left in ((1.0, [("x", 9.5, 10.0)]), (0.0, [])):
        more = [] if widen_sec else [("a", "y", 1.0, 2.0)]
        joined = join_labels([labels(*rows, *more, a={"duration": 10})], widen_sec=widen_sec)
        assert [row for row in segments(joined) if row[0] == "x"] == left
        assert joined.dropped["they end before their recording begins"] == ["line 1"]
        assert joined.dropped["they start after their recording has ended"] == ["line 2"]


def test_a_recording_is_in_one_subset_and_others_are_said():
    one, two = labels(("a", "x", 1, 2), a={"subset": "Train"}), labels(("a", "x", 3, 4), a={"subset": "TEST"})
    joined = join_labels([one, two])
    assert joined.content["database"]["a"]["subset"] == "train"
    assert any("'a' is of the subset 'train', and 'test' in a later file" in note for note in joined.notes)
    one.know("a", subset="training")
    assert not one.notes
    for _ in range(3):
        one.know("a", subset="testing")
    assert len(one.notes) == 1
    assert one.recordings["a"]["subset"] == "train" and "of the subsets 'train' and 'test'" in one.notes[0]


def test_a_subject_to_test_is_found_among_several_and_in_any_case():
    found = labels(("a", "x", 1, 2), ("b", "x", 1, 2), a={"subject": "S1"}, b={"subject": "S3"})
    found.know("a", "S2")
    database = join_labels([found], test=("s2",)).content["database"]
    assert [entry["subset"] for entry in database.values()] == ["test", "train"]


def test_labels_without_times_stay_and_the_schema_reads_all():
    joined = join_labels([labels(("a", "x", math.nan, math.nan), ("a", "y", 1, 2), b={"subset": "testing"})])
    assert segments(joined) == [("y", 1, 2), ("x",)]
    annotations = parse_annotations(joined.content, "file")
    assert {name: r.subset for name, r in annotations.recordings.items()} == {"a": "train", "b": "test"}
    assert annotations.recordings["b"].labels.size == 0  # annotated, without an action


def test_facts_of_several_files_are_joined():
    one = labels(("a", "x", 1, 2), a=dict(subject="P1", fps=50, num_frames=450))
    two = labels(("a", "x", 3, 4), ("b", "x", 1, 2), a=dict(subject="P1", duration=9.0), b=dict(subject="P2"))
    two.know("b", "P3")
    two.know("c", "P1")
    two.know("c", "")  # a row of nobody
    joined = join_labels([one, two])
    a, b, c = joined.content["database"].values()
    facts = dict(subset="train", duration=9.0, fps=50, num_frames=450, subject="P1")
    assert a == facts | {"annotations": a["annotations"]}
    assert "subject" not in b and "duration" not in b and "subject" not in c
    assert any("'b' has several subjects, P2, P3" in note for note in joined.notes)
    assert any("1 recording, the first is 'a' with 2" in note for note in joined.notes)
    assert any("for 2 of 3 recordings, the first is 'b'" in note for note in joined.notes)


def test_the_order_of_classes_stays_where_a_file_fixes_it():
    with_order = labels(("a", "b", 1, 2))
    with_order.classes = ("c", "b")
    assert join_labels([with_order, labels(("a", "a", 1, 2))]).content["classes"] == ["c", "b", "a"]
    assert "classes" not in join_labels([labels(("a", "b", 1, 2))]).content


def test_test_names_recordings_or_subjects():
    found = labels(("a", "x", 1, 2), ("b", "x", 1, 2), ("c", "x", 1, 2), c={"subject": "P7"})
    subsets = lambda test: [e["subset"] for e in join_labels([found], test=test).content["database"].values()]
    assert subsets(()) == ["train", "train", "train"]
    assert subsets(("A.mp4", "P7")) == ["test", "train", "test"]
    with pytest.raises(DataError, match="--test names 'd', no recording and no subject"):
        subsets(("d",))


def test_the_length_of_a_file_goes_before_that_of_the_labels(tmp_path):
    media = folder_of(tmp_path / "signals", a=10)
    joined = join_labels([labels(("a", "x", 1, 20), a={"duration": 30})], media)
    assert joined.content["database"]["a"]["duration"] == 10 and segments(joined) == [("x", 1, 10)]


def test_lengths_by_kind_of_file(tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 100, 250, "NONE", ""))
        file.writeframes(bytes(500))
    np.save(tmp_path / "vectors.npy", np.zeros((7, 3), np.float32))
    np.save(tmp_path / "clip.npy", np.zeros((7, 3), np.float32))
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "clip.json").write_text(json.dumps({"fps": 25, "duration_sec": 3.5}))
    (tmp_path / "bad.csv").write_text("time,word\n0.0,yes\n0.5,no\n")
    media = Media(tmp_path)
    assert media.length("sound")[:2] == (2.5, 100) and media.length("clip")[:2] == (3.5, None)
    assert media.length("vectors") == (None, None, "")
    assert Media(tmp_path, fps=4.0).length("vectors") == (1.75, 4.0, "")
    assert Media(tmp_path, fps=4.0).length("sound")[:2] == (2.5, 100)  # the file's own word
    assert "bad.csv" in media.length("bad").problem
    coding = next(name for name in CODINGS if name.endswith(".mp4"))
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / coding, numbered(8, 32, 32))
    (name,) = (media := Media(tmp_path / "videos")).paths
    assert 0.1 < media.length(name).duration_sec < 10 and media.length(name).fps is None
    with pytest.raises(DataError, match="holds no features, signals or videos"):
        Media(tmp_path / "nowhere")


def test_dates_count_from_the_first_time_stamp(tmp_path):
    (tmp_path / "pump.csv").write_text("time,flow\n2020-03-09 10:00:00,0.5\n2020-03-09 10:00:01,1.5\n")
    found = labels(("pump", "leak", 1583748000.5, 1583748001.0))
    found.rows[0] = found.rows[0]._replace(clock=NO_ZONE)
    assert segments(join_labels([found], Media(tmp_path)), "pump") == [("leak", 0.5, 1.0)]
    with pytest.raises(DataError, match="line 1: its times are dates, or count from 1970; .* --features"):
        join_labels([found])
    (tmp_path / "pump.csv").write_text("x,flow\n2.0,0.5\n1.0,1.5\n")
    with pytest.raises(DataError, match="line 1: its time is a date, but .*pump.csv has no time stamps"):
        join_labels([found], Media(tmp_path))


def test_times_with_and_without_a_zone_are_said(tmp_path):
    (tmp_path / "pump.csv").write_text("time,flow\n2020-03-09 10:00:00,0.5\n2020-03-09 10:00:01,1.5\n")
    text = "file,start,end,label\npump,2020-03-09T11:00:00+01:00,2020-03-09T11:00:01+01:00,leak\n"
    joined = join_labels([read(tmp_path / "labels", "a.csv", text)[1]], Media(tmp_path))
    assert segments(joined, "pump") == [("leak", 0.0, 1.0)]
    assert any("Some times have a time zone or count from 1970" in note for note in joined.notes)
    joined = join_labels(
        [read(tmp_path / "labels", "a.csv", text.replace("T11", " 10").replace("+01:00", ""))[1]],
        Media(tmp_path),
    )
    assert segments(joined, "pump") == [("leak", 0.0, 1.0)] and not any("zone" in n for n in joined.notes)


@pytest.mark.parametrize("date", ["2024-01-06 10:00:", ""])
def test_labels_a_sample_begin_where_their_time_stamps_say(tmp_path, date):
    (tmp_path / "F").mkdir()
    times = [i / 10 for i in range(200)]
    (tmp_path / "F" / "r1.csv").write_text("time,x\n" + "".join(f"{date}{t:04.1f},0.5\n" for t in times))
    rows = "".join(f"{date}{5 + i / 10:04.1f},{'walk' if i < 30 else 'run'}\n" for i in range(50))
    _, found = read(tmp_path, "r1.csv", "time,label\n" + rows)
    assert segments(join_labels([found], Media(tmp_path / "F")), "r1") == [("walk", 5, 8), ("run", 8, 10)]
    assert segments(join_labels([found]), "r1") == [("walk", 0, 3), ("run", 3, 5)]  # nothing else is known
    if not date:  # of a device that was switched on 100 s before, labels count from the beginning
        (tmp_path / "F" / "r1.csv").write_text("time,x\n" + "".join(f"{100 + t:.1f},0.5\n" for t in times))
        assert segments(join_labels([found], Media(tmp_path / "F")), "r1") == [("walk", 0, 3), ("run", 3, 5)]


@pytest.mark.parametrize(
    "of_labels, of_file, seconds",
    [
        ("12:00:00", "12:00:05", (5, 15)),  # before the sensor
        ("12:00:05", "12:00:00", (15, 25)),
        ("00:00:05", "23:59:50", (25, 35)),  # of the next day
        ("00:00:00", "12:00:05", (10, 20)),  # from the beginning
        ("00:00:05", "13:00:00", (10, 20)),  # of a stopwatch
    ],
)
def test_times_of_day_count_from_the_first_one_of_the_file(tmp_path, of_labels, of_file, seconds):
    def clock(first, more):
        hours, minutes, rest = map(int, first.split(":"))
        total = (hours * 3600 + minutes * 60 + rest + more) % 86400
        return f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}"

    (tmp_path / "F").mkdir()
    (tmp_path / "F" / "r.csv").write_text(
        "time,x\n" + "".join(f"{clock(of_file, i)},{i % 7}\n" for i in range(100))
    )
    rows = "".join(f"{clock(of_labels, i)},{i % 3},{'walk' if 10 <= i < 20 else 0}\n" for i in range(60))
    _, found = read(tmp_path, "r.csv", "time,ax,label\n" + rows)
    assert segments(join_labels([found], Media(tmp_path / "F")), "r") == [("walk", *seconds)]


@pytest.mark.parametrize(
    "text, first_sec",
    [
        ("datetime;flow;label\n2020-03-09 10:14:33;1.5;\n2020-03-09 10:14:34;1.5;leak\n", 1583748873),
        ("time,x\n2020-01-01 00:00:00.1234567,0.5\n2020-01-01 00:00:01.1234567,0.5\n", 1577836800.123456),
        (
            "# of a logger, with a head\n# 50 Hz\ntime;x\n1583748873,25;0,5\n1583748873,27;0,5\n",
            1583748873.25,
        ),
        ("logger 3\n\ntime [ms],x\n1583748873250,0.5\n% break\n1583748873270,0.5\n", 1583748873.25),
    ],
)
def test_first_time_stamps_of_all_forms_of_csv(tmp_path, text, first_sec):
    (tmp_path / "a.csv").write_text(text)
    found, clock = Media(tmp_path).begins_sec("a", "labels.csv, line 2")
    assert found == pytest.approx(first_sec, abs=2e-6)
    assert clock == (UTC if "1583748873" in text else NO_ZONE)


@pytest.mark.parametrize(
    "rows, sentence",
    [
        ([("a", "", 1, 2)], "No action is left to write to annotations.json. Dropped: 1: they have no label"),
        ([("../a", "x", 1, 2)], "annotations.json: the recording's name '../a' is no plain file name"),
        ([("a", "x\x1b[31m", 1, 2)], "line 1: the label .* holds a control character"),
    ],
)
def test_what_no_annotation_file_may_hold_is_one_sentence(rows, sentence):
    with pytest.raises(DataError, match=sentence):
        join_labels([labels(*rows)])


def test_overlaps_are_counted_as_pairs_by_pairs():
    rng = np.random.default_rng(0)
    starts = rng.uniform(0, 50, 60).round(1)
    rows = [("a", "xyz"[i % 3], start, start + 0.1 + i % 5) for i, start in enumerate(starts)]
    joined = join_labels([labels(*rows)])
    actions = [(a["label"], *a["segment"]) for a in joined.content["database"]["a"]["annotations"]]

    def overlapping(i, same):
        label, start, end = actions[i]
        others = [b for j, b in enumerate(actions) if j != i and (b[0] == label) == same]
        return any(b[1] < end and start < b[2] for b in others)

    expected = tuple(sum(overlapping(i, same) for i in range(len(actions))) for same in (True, False))
    assert overlap_counts(joined.content) == expected and min(expected) > 0
    touching = labels(("a", "x", 1, 2), ("a", "x", 2, 3), ("a", "y", 3, 4))
    assert overlap_counts(join_labels([touching]).content) == (0, 0)


def with_clock(tmp_path, first_ms, unit="time_ms"):
    """A Media of a recording r of 100 s, whose time stamps begin at so many ms."""
    (tmp_path / "F").mkdir(exist_ok=True)
    rows = "".join(f"{first_ms + 500 * i},{i % 7}\n" for i in range(200))
    (tmp_path / "F" / "r.csv").write_text(f"{unit},x\n{rows}")
    return Media(tmp_path / "F")


@pytest.mark.parametrize(
    "first_ms, times_ms, expected, how",
    [
        (
            30000,
            (1000, 2000, 51000, 52000),
            (1, 2, 51, 52),
            "which is not 0 (1 recording, the first is 'r' at 30 s)",
        ),
        (
            30000,
            (31000, 32000, 99000, 99500),
            (31, 32, 99, 99.5),
            "Labels count from the first time stamp of their",
        ),
        (
            30000,
            (31000, 32000, 121000, 122000),
            (1, 2, 91, 92),
            "Labels are on the clock of their recording's file",
        ),
        (1234560, (1235560, 1236560), (1, 2), "counts as 0 s (1 recording, the first is 'r' at 1234.56 s)."),
    ],
)
def test_labels_on_the_clock_of_a_file_count_from_its_beginning(tmp_path, first_ms, times_ms, expected, how):
    rows = "".join(f"r,{start},{end},walk\n" for start, end in zip(times_ms[::2], times_ms[1::2]))
    _, found = read(tmp_path, "t.csv", f"file,start_ms,end_ms,label\n{rows}")
    joined = join_labels([found], with_clock(tmp_path, first_ms))
    assert sum([list(action[1:]) for action in segments(joined, "r")], []) == pytest.approx(expected)
    assert any(how in note for note in joined.notes)


def test_the_clock_of_one_recording_shows_that_of_all(tmp_path):
    media = with_clock(tmp_path, 30000)
    (tmp_path / "F" / "q.csv").write_text((tmp_path / "F" / "r.csv").read_text())
    rows = "file,start,end,label\nr,121,122,walk\nq,31,32,walk\n"
    joined = join_labels([read(tmp_path, "t.csv", rows)[1]], Media(tmp_path / "F"))
    assert segments(joined, "r") == [("walk", 91, 92)] and segments(joined, "q") == [("walk", 1, 2)]
    joined = join_labels(
        [read(tmp_path, "t.csv", rows + "q,2,3,walk\n")[1]], Media(media.folder)
    )  # of no clock of the file
    assert segments(joined, "q") == [("walk", 2, 3), ("walk", 31, 32)] and not segments(joined, "r")


def test_a_column_that_counts_the_rows_is_no_clock(tmp_path):
    (tmp_path / "F").mkdir()
    (tmp_path / "F" / "r.csv").write_text("time,x\n" + "".join(f"{i + 1},{i % 7}\n" for i in range(500)))
    _, found = read(tmp_path, "t.csv", "file,start,end,label\nr,0.5,2,walk\nr,5,11.5,run\n")
    joined = join_labels([found], Media(tmp_path / "F", fps=50))
    assert segments(joined, "r") == [("walk", 0.5, 2), ("run", 5, 10)]
    assert not any("Labels" in note for note in joined.notes)


def test_labels_a_sample_of_a_clock_that_does_not_fit_begin_with_their_recording(tmp_path):
    rows = "".join(f"{5000 + i / 2},1,walk\n" for i in range(20))
    _, found = read(tmp_path, "r.csv", f"time_s,ax,label\n{rows}")
    joined = join_labels([found], with_clock(tmp_path, 0))
    assert segments(joined, "r") == [("walk", 0, 10)]
    assert any("do not fit those of their recording's file" in note for note in joined.notes)


def test_times_of_day_pass_midnight(tmp_path):
    (tmp_path / "F").mkdir()
    clock = lambda i: f"23:59:{50 + i}" if i < 10 else f"00:00:{i - 10:02}"
    (tmp_path / "F" / "r.csv").write_text("time,x\n" + "".join(f"{clock(i)},{i % 7}\n" for i in range(60)))
    text = "file,start,end,label\nr,23:59:55,00:00:05,walk\nr,00:00:10,00:00:20,run\n"
    joined = join_labels([read(tmp_path, "t.csv", text)[1]], Media(tmp_path / "F"))
    assert segments(joined, "r") == [("walk", 5, 15), ("run", 20, 30)]


def test_time_stamps_beside_labels_are_said_where_no_file_is_known(tmp_path):
    rows = "".join(f"{20000 + 500 * i},1,walk\n" for i in range(9))
    _, found = read(tmp_path, "r.csv", f"time_ms,ax,label\n{rows}")
    assert any(
        "beside them; --features counts from the file's (1 rec" in n for n in join_labels([found]).notes
    )
    joined = join_labels([found], with_clock(tmp_path, 0))
    assert segments(joined, "r") == [("walk", 20, 24.5)]
    assert not any("Labels " in note for note in joined.notes)
    _, found = read(tmp_path, "t.csv", "file,start,end,label\nr,200,201,walk\n")
    with pytest.raises(
        DataError, match="No action is left .* which is not 0 .1 recording, the first is 'r' at 30"
    ):
        join_labels([found], with_clock(tmp_path, 30000))


def test_the_length_of_a_table_with_labels_in_it_is_known(tmp_path):
    rows = "".join(f"{i / 10},{i % 7},{'walk' if i < 50 else 'run'}\n" for i in range(100))
    (tmp_path / "r.csv").write_text("time,ax,label\n" + rows)
    assert Media(tmp_path).length("r") == (10.0, 10.0, "")
