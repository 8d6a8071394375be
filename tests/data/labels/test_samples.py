"""A row a frame or a sample: columns of 0 and 1, and a column of labels."""

import pyarrow
import pyarrow.parquet
import pytest

from tal_jax.data.labels.times import NO_ZONE
from tal_jax.errors import DataError
from tests.data.labels.case import actions, counted, read

FRAMES = ",background,dig,groom\n0,1,0,0\n1,0,1,0\n2,0,1,1\n3,0,0,1\n4,1,0,0\n5,0,0,1\n"


def test_columns_of_0_and_1(tmp_path):
    kind, labels = read(tmp_path, "mouse1_labels.csv", FRAMES, fps=2)
    assert kind == "frames"
    assert actions(labels) == [
        ("mouse1", "dig", 0.5, 1.5),
        ("mouse1", "groom", 1.0, 2.0),
        ("mouse1", "groom", 2.5, 3.0),
    ]
    assert labels.recordings["mouse1"]["duration"] == 3.0
    assert actions(read(tmp_path, "m.csv", FRAMES, fps=2, label_column=("dig",))[1]) == [
        ("m", "dig", 0.5, 1.5)
    ]


@pytest.mark.parametrize("code", ["latin-1", "utf-16"])
def test_names_in_other_codes(tmp_path, code):
    _, labels = read(tmp_path, "m.csv", FRAMES.replace("dig", "gräbt").encode(code), fps=2)
    assert actions(labels)[0] == ("m", "gräbt", 0.5, 1.5)


def test_frames_that_are_not_annotated_are_counted(tmp_path):
    _, labels = read(tmp_path, "m.csv", "frame,background,dig\n0,0,1\n1,-1,-1\n2,-1,-1\n3,0,1\n", fps=1)
    assert actions(labels) == [("m", "dig", 0.0, 1.0), ("m", "dig", 3.0, 4.0)]
    assert counted(labels) == {"they are frames of 'dig' that are not annotated (-1)": 2}


@pytest.mark.parametrize(
    "text, fps, sentence",
    [
        (FRAMES, None, "m.csv has a row a frame; say how many a second: --fps=25"),
        (FRAMES + "6,0,2,0\n", 2, "m.csv, row 7: column 'dig' must be 0 or 1, found 2"),
        (FRAMES + "6,0\n", 2, "Cannot read .*m.csv as a table: .*Expected 4 columns, got 2"),
    ],
)
def test_bad_tables_of_frames_are_one_sentence(tmp_path, text, fps, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "m.csv", text, fps=fps)


def sensors(labels, name="label", head="sbj_id,acc_x,"):
    cells = "3,0.5," if head else ""
    return f"{head}{name}\n" + "".join(f"{cells}{label}\n" for label in labels)


def test_runs_of_one_label_are_actions(tmp_path):
    text = sensors(["", "jog", "jog", "null", "jog", "sit", "sit", "Background", "0", "sit"])
    kind, labels = read(tmp_path, "sbj_3.csv", text, fps=2)
    assert kind == "samples"
    assert [row[1:] for row in actions(labels)] == [
        ("jog", 0.5, 1.5),
        ("jog", 2.0, 2.5),
        ("sit", 2.5, 3.5),
        ("sit", 4.5, 5.0),
    ]
    assert labels.recordings["sbj_3"] == dict(subjects={"3"}, others=[], duration=5.0, fps=2)
    assert labels.rows[0].where == f"{tmp_path}/sbj_3.csv, row 2"


def test_numbers_are_labels_without_a_fraction_and_0_is_none(tmp_path):
    _, labels = read(tmp_path, "emg.csv", sensors(["0.0", "2.0", "2.0", "7.0"], "gesture"), fps=1)
    assert [row[1:] for row in actions(labels)] == [("2", 1.0, 3.0), ("7", 3.0, 4.0)]


def test_a_column_of_0_and_1_gives_its_name(tmp_path):
    _, labels = read(tmp_path, "pump.csv", sensors("00110", "anomaly"), fps=1, label_column=("anomaly",))
    assert actions(labels) == [("pump", "anomaly", 2.0, 4.0)]


def test_flags_in_words_give_the_name_of_their_column(tmp_path):
    text = "ax,walk\n0.5,False\n1.5,True\n0.5,TRUE\n1.5,false\n"
    assert actions(read(tmp_path, "a.csv", text, fps=1, label_column=("walk",))[1]) == [("a", "walk", 1, 3)]


@pytest.mark.parametrize(
    "true, false, none", [("True", "False", "NA"), ("TRUE", "FALSE", ""), ("1", "0", "NA")]
)
def test_flags_without_a_true_cell_or_with_empty_ones_are_flags(tmp_path, true, false, none):
    text = f"ax,walk,run\n1,{true},{false}\n2,{true},{none}\n3,{false},{false}\n"
    for columns in (("walk", "run"), ("run", "walk")):
        assert actions(read(tmp_path, "a.csv", text, fps=1, label_column=columns)[1]) == [("a", "walk", 0, 2)]
    text = f"ax,walk,run\n1,{true},{false}\n2,{true},{none}\n3,{false},{true}\n"
    found = actions(read(tmp_path, "a.csv", text, fps=1, label_column=("walk", "run"))[1])
    assert found == [("a", "walk", 0, 2), ("a", "run", 2, 3)]


@pytest.mark.parametrize(
    "times, problem",
    [
        (["0", "0.1", "0.2", "0", "0.1"], "column 1 'time' has the time 0 after 0.2 in row 4"),
        (["0", "0.1", "NA", "5", "5.1"], "column 1 'time' has the time nan after 0.1 in row 3"),
        (
            ["10.06.2014 12:00", "10.06.2014 12:01", "x", "y", "z"],
            "column 1 'time' holds '10.06.2014 12:00' in row 1",
        ),
    ],
)
def test_time_stamps_that_are_not_used_are_said(tmp_path, times, problem):
    text = "time,ax,label\n" + "".join(f"{time},1,walk\n" for time in times)
    _, labels = read(tmp_path, "a.csv", text, fps=1)
    assert actions(labels) == [("a", "walk", 0, 5)]
    assert problem in labels.notes[0] and labels.notes[0].endswith("times are those of --fps.")


def test_samples_of_a_recording_and_a_time_are_no_points(tmp_path):
    rows = "".join(f"{r},{t / 10},{'walk' if 10 <= t < 20 else 0}\n" for r in ("r1", "r2") for t in range(30))
    kind, labels = read(tmp_path, "a.csv", "video,time,label\n" + rows)
    assert kind == "samples" and actions(labels) == [("r1", "walk", 1, 2), ("r2", "walk", 1, 2)]
    of_day = "".join(f"r1,00:00:{t:02},{'walk' if 10 <= t < 20 else 0}\n" for t in range(30))
    assert actions(read(tmp_path, "a.csv", "video,time,label\n" + of_day)[1]) == [("a", "walk", 10, 20)]
    every_10_s = "video,time,label\n" + "".join(f"r1,{10 * t},hit\n" for t in range(30))
    with pytest.raises(DataError, match="or --format=table, if a row is an action"):
        read(tmp_path, "a.csv", every_10_s)
    assert len(actions(read(tmp_path, "a.csv", every_10_s, kind="table")[1])) == 30
    points = "".join(f"r1,{t * t / 10},hit\n" for t in range(30))
    assert read(tmp_path, "a.csv", "video,time,label\n" + points)[0] == "table"


def test_labels_of_digits_stay_as_they_are_written(tmp_path):
    text = sensors(["0", "01", "01", "007", "2.0"])
    found = [row[1:] for row in actions(read(tmp_path, "a.csv", text, fps=1)[1])]
    assert found == [("01", 1, 3), ("007", 3, 4), ("2", 4, 5)]
    text = "time, acc, label\n0.0,1,01\n0.1,2,01\n"  # with blanks in the line of names
    assert actions(read(tmp_path, "a.csv", text)[1]) == [("a", "01", 0, 0.2)]
    text = "acc,Aktivit\u00e4t\n1,01\n2,01\n".encode("cp1252")
    found = read(tmp_path, "a.csv", text, fps=10, label_column=("Aktivit\u00e4t",))[1]
    assert actions(found) == [("a", "01", 0, 0.2)]


@pytest.mark.parametrize(
    "cells", [("0.00", "2.00"), ("0.000000e+00", "2.000000e+00"), ("0,0", "2,0"), ("0.0", "2.0")]
)
def test_numbers_as_programs_write_them_are_labels(tmp_path, cells):
    none, two = cells
    text = f"ax;label\n1;{none}\n2;{two}\n3;{two}\n"
    assert actions(read(tmp_path, "a.csv", text, fps=1)[1]) == [("a", "2", 1, 3)]
    text = text.replace("2", "1").replace(none.replace("2", "1"), none)
    assert actions(read(tmp_path, "a.csv", text, fps=1)[1]) == [("a", "label", 1, 3)]


def test_a_column_of_recordings_splits_the_table(tmp_path):
    text = "video,walks,label\n" + "v/a.mp4,0,walk\n" * 3 + "v/b.mp4,1,0\nv/b.mp4,1,walk\n"
    _, labels = read(tmp_path, "all.csv", text, fps=1)
    assert actions(labels) == [("a", "walk", 0, 3), ("b", "walk", 1, 2)]
    assert [labels.recordings[name]["duration"] for name in "ab"] == [3, 2]
    assert labels.rows[1].where.endswith("all.csv, row 5")
    text = "time,ax,ay,video,label\n" + "".join(
        f"{t},0.5,1,{v},walk\n" for v in "ab" for t in (0.0, 0.1, 0.2)
    )
    assert [row[0] for row in actions(read(tmp_path, "all.csv", text)[1])] == ["a", "b"]
    _, labels = read(tmp_path, "one.csv", "video,label\nv.mp4,walk\nv.mp4,0\n", fps=1)
    assert labels.recordings["one"]["others"] == ["v"]  # one alone is another name
    text = "video,label\n" + "A.mp4,walk\n" * 2 + "A.csv,run\n" * 2
    with pytest.raises(DataError, match="row 3: 'video' names 'A' again"):
        read(tmp_path, "all.csv", text, fps=1)
    text = "time,ax,ay,video,label\n0.0,1,2,a,x\n0.1,1,2,a,x\n0.0,1,2,b,x\n"
    with pytest.raises(DataError, match="row 3 is the only one of a recording"):
        read(tmp_path, "all.csv", text)
    text = "video_id,video_name,label\nA,ma,x\nA,ma,x\nB,mb,y\n"
    assert actions(read(tmp_path, "all.csv", text, fps=1)[1]) == [("A", "x", 0, 2), ("B", "y", 0, 1)]


@pytest.mark.parametrize(
    "name, cells",
    [
        ("userAcceleration.x", ["0.00", "0.13", "0.26"]),
        ("person_x", ["1", "2", "3"]),
        ("subject", ["", "", "p1"]),
        ("audio", ["0.5", "0.25", "0.5"]),
        ("video_frame", ["0", "0", "1"]),
        ("recording_quality", ["good", "bad", "good"]),
    ],
)
def test_other_columns_name_no_recordings(tmp_path, name, cells):
    rows = zip(cells, ["walk", "walk", "run"])
    text = f"{name},ax,label\n" + "".join(f"{cell},1,{label}\n" for cell, label in rows)
    found = actions(read(tmp_path, "one.csv", text, fps=1)[1])
    assert found == [("one", "walk", 0, 2), ("one", "run", 2, 3)]


@pytest.mark.parametrize("name", ["video_label", "user_activity"])
def test_a_column_of_labels_names_no_recordings(tmp_path, name):
    text = f"time,ax,{name}\n" + "".join(f"{t / 10},1,{'walk' if t < 5 else 'run'}\n" for t in range(10))
    assert actions(read(tmp_path, "one.csv", text)[1]) == [("one", "walk", 0, 0.5), ("one", "run", 0.5, 1)]


def test_a_column_of_labels_alone(tmp_path):
    _, labels = read(tmp_path, "a.csv", sensors(["walk", "walk", "none"], head=""), fps=1)
    assert actions(labels) == [("a", "walk", 0.0, 2.0)]


def test_time_stamps_go_before_the_rate(tmp_path):
    stamps = ["2020-03-09 10:14:33", "2020-03-09 10:14:34", "2020-03-09 10:14:37", "2020-03-09 10:14:38"]
    text = "datetime;flow;label\n" + "".join(
        f"{t};1.5;{x}\n" for t, x in zip(stamps, ["", "leak", "leak", ""])
    )
    _, labels = read(tmp_path, "pump.csv", text, fps=99)
    assert actions(labels) == [("pump", "leak", 1.0, 5.0)]
    # A median step after the last; and when it begins.
    facts = dict(duration=6.0, first=(1583748873, NO_ZONE))
    assert labels.recordings["pump"] == dict(subjects=set(), others=[]) | facts


@pytest.mark.parametrize("mark", [".", ","])
def test_times_of_day_are_time_stamps(tmp_path, mark):
    text = (
        "time;ax;label\n" + "".join(f"23:59:59{mark}{i};1;walk\n" for i in (8, 9)) + f"00:00:00{mark}0;2;\n"
    )
    assert actions(read(tmp_path, "a.csv", text)[1]) == [("a", "walk", 0.0, 0.2)]


def test_comments_and_decimal_commas(tmp_path):
    text = "# logger, 50 Hz\n% x\ntime;ax;label\n0,00;1,5;\n0,02;1,5;walk\n# gap\n0,04;1,5;walk\n0,06;1,4;\n"
    assert actions(read(tmp_path, "a.csv", text)[1]) == [("a", "walk", 0.02, 0.06)]


def test_what_begins_like_a_comment_is_none_in_a_table(tmp_path):
    text = "label,ax\n#1,0.5\n#1,0.5\nwalk,0.5\n"
    assert actions(read(tmp_path, "a.csv", text, fps=1)[1]) == [("a", "#1", 0, 2), ("a", "walk", 2, 3)]
    text = 'ax,label\n0.5,"walk\n# fast"\n0.5,run\n'
    assert actions(read(tmp_path, "a.csv", text, fps=1)[1])[-1] == ("a", "run", 1, 2)
    for head in ("# made by X\n\n", "  # made by X, again\n", ""):
        text = head + "#,file,start,end,label\n1,b.mp4,1,2,walk\n#2,b.mp4,3,4,walk\n"
        assert actions(read(tmp_path, "a.csv", text)[1]) == [("b", "walk", 1, 2), ("b", "walk", 3, 4)]


def test_numbers_of_frames_count(tmp_path):
    text = "frame,label\n0,walk\n5,walk\n10,run\n15,run\n20,0\n"
    assert actions(read(tmp_path, "a.csv", text, fps=10)[1]) == [("a", "walk", 0, 1), ("a", "run", 1, 2)]
    text = "frame,walk,run\n100,1,0\n101,1,0\n102,0,1\n103,0,0\n"
    found = actions(read(tmp_path, "a.csv", text, fps=10)[1])
    assert found == [("a", "walk", 10, 10.2), ("a", "run", 10.2, 10.3)]
    assert read(tmp_path, "a.csv", text, fps=10)[1].recordings["a"]["duration"] == 10.4
    text = "frame,label\n0,walk\n1,walk\n0,run\n"
    with pytest.raises(DataError, match="row 3 has frame 0 after 1; numbers must grow in a file, which is"):
        read(tmp_path, "a.csv", text, fps=10)


def test_an_open_quote_and_rows_like_comments_lose_nothing(tmp_path):
    text = 'file\tstart\tend\tlabel\tcomment\nr1\t1\t2\twalk\t"hi there\nr1\t3\t4\trun\tx\n'
    with pytest.raises(DataError, match="a.tsv, line 2 has a quote .* that nothing closes"):
        read(tmp_path, "a.tsv", text)
    text = 'file,start,end,label,comment\n//nas/v/rec1.mp4,1,2,walk\n//nas/v/rec2.mp4,3,4,"run, fast",\n'
    assert [row[0] for row in actions(read(tmp_path, "a.csv", text)[1])] == ["rec1", "rec2"]


def test_a_point_in_the_times_is_a_point_everywhere(tmp_path):
    text = "time;label\n0.00;1,2\n0.02;1,2\n0.04;\n0.06;\n"
    assert actions(read(tmp_path, "a.csv", text, fps=10)[1]) == [("a", "1,2", 0, 0.04)]


def test_a_column_that_counts_the_rows_is_no_time(tmp_path):
    text = "time,ax,label\n0,1.5,\n1,2.5,walk\n2,1.5,walk\n"
    assert actions(read(tmp_path, "a.csv", text, fps=50)[1]) == [("a", "walk", 0.02, 0.06)]
    with pytest.raises(DataError, match="a.csv has a row a sample, but column 1 'time' counts the rows; say"):
        read(tmp_path, "a.csv", text)


def test_names_of_columns_in_the_other_form_of_unicode(tmp_path):
    table = pyarrow.table({"ax": [0.5, 1.5], "Ta\u0308tigkeit": ["run", "run"]})
    pyarrow.parquet.write_table(table, tmp_path / "made.parquet")
    content = (tmp_path / "made.parquet").read_bytes()
    _, labels = read(tmp_path, "a.parquet", content, kind="samples", fps=2, label_column=("T\u00e4tigkeit",))
    assert actions(labels) == [("a", "run", 0, 1)] and labels.label_columns == {"T\u00e4tigkeit"}


def test_parquet(tmp_path):
    table = pyarrow.table({"ax": [0.5, 1.5, 2.5], "activity": [None, "run", "run"]})
    pyarrow.parquet.write_table(table, tmp_path / "made.parquet")
    kind, labels = read(tmp_path, "a.parquet", (tmp_path / "made.parquet").read_bytes(), fps=2)
    assert kind == "samples" and actions(labels) == [("a", "run", 0.5, 1.5)]


@pytest.mark.parametrize(
    "text, sentence",
    [
        (
            sensors(["a"]),
            "a.csv has a row a sample, but it has no time stamps; say how many a second: --fps=50",
        ),
        (
            "x,label,activity\n1,a,b\n",
            "several columns may hold the labels, 'label', 'activity'; name it with",
        ),
        ("x,label\n", "a.csv has no row below its names"),
        ("x,label\n1,a\n1\n", "Cannot read .*a.csv as a table"),
        ("x,x,label\n1,2,a\n", "two columns have one name"),
        ("video,label\na,x\nb,x\na,x\n", "a.csv, row 3: 'video' names 'a' again; put the rows of"),
        ("user,label\n1,x\n1,x\n2,x\n", "a.csv, row 3: 'user' is '1' and then '2'; write a file for each"),
        ("user,label\n1,x\n2,x\n1,x\n", "a.csv, row 2: 'user' is '1' and then '2'; write a file for each"),
        ("session,label\ns1,x\ns1,x\ns2,x\n", "a.csv, row 3: 'session' is 's1' and then 's2'; write a"),
        (
            "file,label\n0.jpg,x\n1.jpg,x\n2.jpg,x\n",
            "'file' names another recording in each row, such as '0.jpg'",
        ),
        ('time,label\n0,walk\n0.1,"run\n0.2,sit\n', "a.csv, line 3 has a quote .* that nothing closes"),
        (
            "time,label\n5,x\n4,x\n",
            "a.csv has a row a sample, but .* has the time 4 after 5 in row 2; say how",
        ),
    ],
)
def test_bad_tables_of_samples_are_one_sentence(tmp_path, text, sentence):
    fps = 1 if text.startswith(("video", "user", "session", "file")) else None
    with pytest.raises(DataError, match=sentence) as error:
        read(tmp_path, "a.csv", text, fps=fps)
    assert "config." not in str(error.value)
