"""Tables with a row an action."""

import math

import pytest

from tal_jax.data.labels.joined import join_labels
from tal_jax.data.labels.rows import recording_name
from tal_jax.data.labels.tables import find_columns
from tal_jax.data.labels.times import FROM_START, NO_ZONE, time_of
from tal_jax.errors import DataError
from tests.data.labels.case import actions, counted, read


@pytest.mark.parametrize(
    "text, expected",
    [
        ("recording,start,end,label,score\nrec1,1.5,2,walk,0.91\n", ("rec1", "walk", 1.5, 2.0)),
        ("file\tstart\tend\tlabel\nvideos/rec1.mp4\t1:02.5\t00:01:03.250\twalk\n", ("rec1", "walk", 62.5, 63.25)),
        ("Filename;Begin (s);Stop (s);Behaviour\nrec1.wav;1,5;2,25;walk\n", ("rec1", "walk", 1.5, 2.25)),
        ("onset,duration,trial_type\n1.5,0.5,walk\n", ("mine", "walk", 1.5, 2.0)),
        ("video_id,start_ms,end_ms,class_id,class\nrec1,1500,2000,7,walk\n", ("rec1", "walk", 1.5, 2.0)),
        ("name,label,t_start,t_end\nrec1,walk,1.5,2\n", ("rec1", "walk", 1.5, 2.0)),
        ("file,time,label\nrec1,1.5,walk\n", ("rec1", "walk", 1.5, 1.5)),
        ("file,start,end,label\nrec1,1.5,,walk\n", ("rec1", "walk", 1.5, 1.5)),
        ("\ufefffile,start,end,label\r\nrec1,1.5,2,\"walk, fast\"\r\n\r\n", ("rec1", "walk, fast", 1.5, 2.0)),
    ],
)  # fmt: skip
def test_tables_of_actions(tmp_path, text, expected):
    kind, labels = read(tmp_path, "mine.csv", text)
    assert kind == "table" and actions(labels) == [expected]


def test_numbers_of_frames_as_r_writes_them(tmp_path):
    text = "start,end,label\n1e+05,2e+05,walk\n-5,100600,run\n"
    found = [row[2:] for row in actions(read(tmp_path, "mine.csv", text, fps=25)[1])]
    assert found == [(4000, 8000), (-0.2, 4024)]


@pytest.mark.parametrize("names", ["video,start_frame,end_frame,label", "video,start,end,label"])
def test_frames_are_divided_by_the_rate(tmp_path, names):
    _, labels = read(tmp_path, "mine.csv", f"{names}\nrec1,25,100,walk\n", fps=50)
    assert actions(labels) == [("rec1", "walk", 0.5, 2.0)]


def test_seconds_go_before_frames_and_clocks_are_no_frames(tmp_path):
    text = "video,start_frame,stop_frame,start_timestamp,stop_timestamp,label\nr,10,20,00:00:01.00,00:00:02.00,a\n"
    assert actions(read(tmp_path, "mine.csv", text, fps=50)[1]) == [("r", "a", 1.0, 2.0)]


@pytest.mark.parametrize(
    "head, row, expected",
    [
        (
            "file\tBegin Time - ss.msec\tEnd Time - ss.msec\tAnnotation",
            "r\t3.1\t4.8\ta",
            ("r", "a", 3.1, 4.8),
        ),
        ("file\tBegin Time - msec\tEnd Time - msec\tAnnotation", "r\t3100\t4800\ta", ("r", "a", 3.1, 4.8)),
        ("file,start_min,end_min,label", "r,1.5,2.5,a", ("r", "a", 90.0, 150.0)),
        ("file,Start (h),Duration (h),label", "r,1,0.5,a", ("r", "a", 3600.0, 5400.0)),
        ("file,label,start_x,start_y,start_time,end_time", "r,a,1.5,7,10,12", ("r", "a", 10.0, 12.0)),
        ("file,label,start,duration,distance_to_food", "r,a,1.5,7,10", ("r", "a", 1.5, 8.5)),
        ("session,video,start,end,label", "s,r.mp4,1,2,a", ("r", "a", 1.0, 2.0)),
        ("session,video_id,start,end,label", "s,r.mp4,1,2,a", ("r", "a", 1.0, 2.0)),
        (
            "file,start_frame,end_frame,event_start_time,event_end_time,label",
            "r,9,9,1,2,a",
            ("r", "a", 1.0, 2.0),
        ),
        ("file,from,to,label", "r,1,2,a", ("r", "a", 1.0, 2.0)),
        ("file,Start (s.ms),End (s.ms),label", "r,1.5,2.5,a", ("r", "a", 1.5, 2.5)),
        ("file,start_ms,end,label", "r,1500,2000,a", ("r", "a", 1.5, 2.0)),
        ("file,start,end_min,label", "r,1,2,a", ("r", "a", 60.0, 120.0)),
        ("file,t_min,t_max,label", "r,1.5,2.5,a", ("r", "a", 1.5, 2.5)),
        ("video_fps,participant_age,start,end,label", "25,61,1,2,a", ("mine", "a", 1.0, 2.0)),
    ],
)
def test_names_of_columns_say_what_they_hold(tmp_path, head, row, expected):
    (found,) = actions(read(tmp_path, "mine.csv", f"{head}\n{row}\n")[1])
    assert found[:2] == expected[:2] and found[2:] == pytest.approx(expected[2:])


def test_a_unit_that_is_taken_from_the_other_column_is_said(tmp_path):
    _, labels = read(tmp_path, "mine.csv", "file,start_ms,end,label\nr,1500,2000,a\n")
    assert labels.notes == [f"{tmp_path}/mine.csv: 'end' names no unit; it has that of 'start_ms'."]
    assert not read(tmp_path, "mine.csv", "file,start_s,end,label\nr,1,2,a\n")[1].notes


def test_flags_in_words_are_flags(tmp_path):
    text = "file,start,end,sniff,groom\nr,1,2,True,False\nr,3,4,false,TRUE\n"
    _, labels = read(tmp_path, "mine.csv", text, label_column=("sniff", "groom"))
    assert actions(labels) == [("r", "sniff", 1.0, 2.0), ("r", "groom", 3.0, 4.0)]


def test_a_flag_that_is_never_set_has_no_action(tmp_path):
    text = "file,start,end,sniff,groom\nr,1,2,True,False\nr,3,4,False,False\n"
    _, labels = read(tmp_path, "mine.csv", text, label_column=("sniff", "groom"))
    assert actions(labels) == [("r", "sniff", 1.0, 2.0)]


def test_zeros_alone_may_be_a_class(tmp_path):
    text = "start,end,code,walk\n1,2,0,0\n3,4,0,0\n"
    found = actions(read(tmp_path, "mine.csv", text, label_column=("code",))[1])
    assert [row[1] for row in found] == ["0", "0"]
    assert not actions(read(tmp_path, "mine.csv", text, label_column=("code", "walk"))[1])


def test_an_end_has_the_seconds_of_its_start(tmp_path):
    _, labels = read(tmp_path, "mine.csv", "start_s,end,label\n10,12,walk\n20,600,walk\n", fps=25)
    assert [row[2:] for row in actions(labels)] == [(10, 12), (20, 600)] and not labels.notes
    text = "start_s,duration,label\n10,12,walk\n"
    assert actions(read(tmp_path, "mine.csv", text)[1]) == [("mine", "walk", 10, 22)]
    with pytest.raises(DataError, match="'duration' names no unit beside 'start_s'"):
        read(tmp_path, "mine.csv", text, fps=25)


def test_empty_subjects_and_subsets_are_none(tmp_path):
    text = "file,start,end,label,subject,subset\nr1,0,1,w,NA,NA\nr2,0,1,w,P2,test\nr2,2,3,w,NA,none\n"
    _, labels = read(tmp_path, "mine.csv", text)
    r1, r2 = join_labels([labels]).content["database"].values()
    assert r1["subset"] == "train" and "subject" not in r1 and r2["subset"] == "test"
    assert not labels.notes


def test_names_in_both_forms_of_unicode_are_one(tmp_path):
    rows = ("r\u00e9c", "Jos\u00e9"), ("re\u0301c", "Jose\u0301")
    text = "file,start,end,subject,Ta\u0308tigkeit\n" + "".join(
        f"{r},{i},{i + 1},{s},x\n" for i, (r, s) in enumerate(rows)
    )
    _, labels = read(tmp_path, "mine.csv", text, label_column=("T\u00e4tigkeit",))
    assert [*labels.recordings] == ["r\u00e9c"] and labels.recordings["r\u00e9c"]["subjects"] == {"Jos\u00e9"}


@pytest.mark.parametrize("name", ["recording_date", "video_quality", "media_type"])
def test_columns_that_describe_a_recording_do_not_name_it(tmp_path, name):
    _, labels = read(tmp_path, "mine.csv", f"{name},start,end,label\nx,1,2,a\ny,3,4,a\n")
    assert [*labels.recordings] == ["mine"]


def test_rows_that_name_no_recording_are_counted(tmp_path):
    _, labels = read(tmp_path, "mine.csv", "file,start,end,label\n,1,2,a\nr,1,2,a\n")
    assert actions(labels) == [("r", "a", 1.0, 2.0)] and counted(labels) == {"they name no recording": 1}


def test_tables_of_spreadsheets(tmp_path):
    text = 'sep=;\nfile;start;end;label;\nr;1,5;2,5;"a; b";\n'
    assert actions(read(tmp_path, "mine.csv", text)[1]) == [("r", "a; b", 1.5, 2.5)]
    text = "file;start;end;label\nr;1;2;it\u2019s \u20ac\n".encode("cp1252")
    assert actions(read(tmp_path, "mine.csv", text)[1]) == [("r", "it\u2019s \u20ac", 1.0, 2.0)]


@pytest.mark.parametrize("other", ["Target", "Behavioral category"])
def test_of_several_columns_of_labels_one_is_read_and_said(tmp_path, other):
    _, labels = read(tmp_path, "mine.csv", f"file,start,end,{other},Behavior\nr,1,2,x,sniff\n")
    assert actions(labels) == [("r", "sniff", 1.0, 2.0)]
    assert f"read from the column 'Behavior'; --label_column names others: '{other}'." in labels.notes[0]
    assert not read(tmp_path, "mine.csv", "file,start,end,class,class_id\nr,1,2,x,7\n")[1].notes


def test_columns_of_0_and_1_that_are_chosen_are_labels(tmp_path):
    for one, none in (("1", "0"), ("1.0", "0.0")):
        text = f"file,start,end,sniff,groom\nr,1,2,{one},{none}\nr,3,4,{none},{one}\nr,5,6,,\n"
        _, labels = read(tmp_path, "mine.csv", text, label_column=("sniff", "groom"))
        assert actions(labels) == [("r", "sniff", 1.0, 2.0), ("r", "groom", 3.0, 4.0)]
    text = "file,start,end,class\nr,1,2,1\nr,3,4,0\n"  # whose name says that it holds labels
    _, labels = read(tmp_path, "mine.csv", text, label_column=("class",))
    assert actions(labels) == [("r", "1", 1.0, 2.0), ("r", "0", 3.0, 4.0)]


def test_files_of_one_name_in_two_folders_are_not_one_recording(tmp_path):
    rows = "{}cam.mp4,1,2,a\n{}cam.mp4,3,4,a\n"
    for one, two in (
        ("day1/", "./day1/"),
        ("", "day1/"),
        ("D:\\v\\", "D:/v/"),
        ("C:\\Users\\anna\\v\\", "D:/v/"),
    ):
        _, labels = read(tmp_path, "mine.csv", "file,start,end,label\n" + rows.format(one, two))
        assert [*join_labels([labels]).content["database"]] == ["cam"]
    for known in ("", "cam.mp4,5,6,a\n"):
        for one, two in (("c/day1", "c/day2"), ("c/day1/left", "c/day2/left"), ("day1/left", "day2/left")):
            text = "file,start,end,label\n" + known + rows.format(f"{one}/", f"{two}/")
            _, labels = read(tmp_path, "mine.csv", text)
            with pytest.raises(DataError, match=f"'{one}' and '{two}' both hold a 'cam'; rename one"):
                join_labels([labels])
    text = "file,start,end,label\n" + rows.format(
        "/data/local-files/?d=day1%2F", "/data/local-files/?d=day2%2F"
    )
    with pytest.raises(DataError, match="'day1' and 'day2' both hold a 'cam'"):
        join_labels([read(tmp_path, "mine.csv", text)[1]])
    text = "file,start,end,label\nhttps://x.org/a/cam.mp4?t=a/b,1,2,a\nhttps://x.org/a/cam.mp4?t=c/d,3,4,a\n"
    assert [*join_labels([read(tmp_path, "mine.csv", text)[1]]).content["database"]] == ["cam"]
    halves = [read(tmp_path, f"{day}.csv", f"file,start,end,label\n{day}/cam.mp4,1,2,a\n")[1] for day in "12"]
    with pytest.raises(DataError, match="2.csv, line 2: '1' and '2' both hold a 'cam'"):
        join_labels(halves)


def test_subjects_subsets_and_rows_without_label_or_start(tmp_path):
    text = "file,participant,split,start,end,label\na,P1,test,1,2,walk\nb,P2,train,1,2,\nb,P2,train,,2,walk\n"
    _, labels = read(tmp_path, "mine.csv", text)
    assert actions(labels) == [("a", "walk", 1.0, 2.0), ("b", "", 1.0, 2.0)]
    assert counted(labels) == {"they have no start": 1}
    assert labels.recordings["a"] == dict(subjects={"P1"}, others=[], subset="test")


def test_the_label_column_is_chosen_by_name(tmp_path):
    text = "file,start,end,label,weather\na,1,2,walk,rain\n"
    assert actions(read(tmp_path, "mine.csv", text, label_column=("weather",))[1]) == [
        ("a", "rain", 1.0, 2.0)
    ]
    with pytest.raises(DataError, match="has no column 'whether' .*'weather'"):
        read(tmp_path, "mine.csv", text, label_column=("whether",))


def test_dates_are_marked_as_of_a_clock(tmp_path):
    text = "file,start,end,label\na,2020-01-01 00:00:10,2020-01-01T00:00:12.5+00:00,leak\n"
    (row,) = read(tmp_path, "mine.csv", text)[1].rows
    assert row.clock == NO_ZONE and row.end_sec - row.start_sec == 2.5 and row.start_sec == 1577836810


@pytest.mark.parametrize(
    "text, fps, sentence",
    [
        ("file,start,end,label\nr,3,5,4,8,walk\n", None, "line 2 has 6 cells, but names for 4; put a cell"),
        ("file,start_index,end_index,label\nr,1,2,walk\n", None, "'start_index' counts frames; say how many"),
        ("file,start,end,label\na,soon,2,walk\n", None, "mine.csv, line 2: a time must be .* found 'soon'"),
        ("file,start (hh:mm),end (hh:mm),label\na,0:10,1:30,w\n", None, "'start .hh:mm.' has no seconds; write hh:mm:ss"),
        ("file,onset,duration_ms,label\nr,12,500,a\n", None, "'onset' names no unit beside 'duration_ms'; rename it, for"),
        ("file,start_ms,duration,label\nr,12,500,a\n", None, "'duration' names no unit beside 'start_ms'; rename it, for"),
        ("file,start,end,label\na,1:75,2,walk\n", None, "line 2: a time must be .* found '1:75'"),
        ("file,start,end,label\na,inf,2,walk\n", None, "line 2: a time must be .* found 'inf'"),
        ("file,start_frame,end_frame,label\na,1,2,walk\n", None, "'start_frame' counts frames.*--fps=25"),
        ("file,start,end,label\na,1.5,2,walk\n", 25, "line 2: with --fps, times are whole frames, found 1.5"),
        ("file,start,end,comment\na,1,2,walk\n", None, "no column holds the labels by its name; name the columns"),
        ("file,start,end,label,label\na,1,2,walk,x\n", None, "two columns are called 'label'"),
        ("file,start,end,label\na,2020-01-01,2,walk\n", None, "line 2: of start and end one is a date"),
        ("rec1,1.0,2.0,walk\n", None, "in no format that is known, its first line is 'rec1,1.0,2.0,walk'"),
        (",,,\nfile,start,end,label\nr,soon,2,walk\n", None, "line 3: a time must be .* found 'soon'"),
        ("file,start,end,label,\nr,1,2,walk, fast\n", None, "line 2 has 5 cells, but names for 4; put a cell"),
        ("file,start,end,label\nr,\"1,234\",\"2,500\",a\n", None, "line 2: the comma of 1,234 in 'start' has two"),
        ("file;start;end;label\nr;1,5;2;a\nr;2.5;3;a\n", None, "line 2: the comma of 1,5 in 'start' has two"),
        ("", None, "in no format that is known, and empty; say --format=NAME"),
        ("file,start,end,label\na,1,2,\"wa\x00lk\n", None, "is no text file"),
    ],
)  # fmt: skip
def test_bad_tables_are_one_sentence(tmp_path, text, fps, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "mine.csv", text, kind="table" if "\0" in text else "", fps=fps)


def test_columns_by_their_names():
    found = find_columns(["video_id", "video_duration", "Start Time", "End Time", "verb_class", "notes"])
    assert found == {"file": "video_id", "start": "Start Time", "end": "End Time", "label": "verb_class"}


@pytest.mark.parametrize(
    "text, name",
    [
        ("rec1.mp4", "rec1"),
        ("C:\\data\\my rec.CSV", "my rec"),
        ("file:///C:/a%20b/rec%201.MOV", "rec 1"),
        ("https://host.example/x/rec1.wav?token=1", "rec1"),
        ("rec.one", "rec.one"),
        ("100%20", "100%20"),
    ],
)
def test_names_of_recordings(text, name):
    assert recording_name(text) == name


@pytest.mark.parametrize(
    "text, unit_sec, seconds",
    [("90", None, 90), ("1:30", None, 90), ("90:00", None, 5400), ("01:00:00,5", 1e-3, 3600.5), ("5e2", 1e-3, 0.5),
     ("-2", None, -2)],
)  # fmt: skip
def test_times(text, unit_sec, seconds):
    found, clock = time_of(text, "here", unit_sec)
    assert math.isclose(found, seconds) and clock == FROM_START
