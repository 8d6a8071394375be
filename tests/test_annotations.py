"""The command tal_jax.annotations: files of labels in, an annotation file and a report out."""

import json
import sys

import numpy as np
import pytest

from tal_jax import annotations
from tal_jax.data.annotations import load_annotations
from tests.data.labels.test_projects import VIA
from tests.data.labels.test_transcripts import EAF

TABLE = (
    "file,start,end,label\nrec1,1,2,walk\nrec1,1.5,3,run\nrec1,1.5,2.5,run\nrec2,5,4,walk\nrec2,6,7.5,walk\n"
)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        """(exit code or message, lines on the terminal)."""
        monkeypatch.setattr(sys, "argv", ["annotations", *words])
        try:
            stop = annotations.main()
        except SystemExit as error:
            stop = error.code
        out, err = capsys.readouterr()
        return stop, (out + err).splitlines()

    return run


def test_a_table_becomes_an_annotation_file_and_the_report_says_all(run, tmp_path):
    (tmp_path / "mine.csv").write_text(TABLE)
    stop, lines = run("--from", "mine.csv", "--to=labels.json", "--test=rec2")
    assert stop is None and lines == [
        "Read: 1 file of table of actions, 5 labels.",
        "",
        "class  actions  recordings  shortest (s)  median (s)  longest (s)",
        "run          2           1          1.00        1.25         1.50",
        "walk         2           2          1.00        1.25         1.50",
        "",
        "1 dropped: they end before they start: mine.csv, line 5.",
        "Note: Nothing says how long a recording lasts for 2 of 2 recordings, the first is 'rec1'; --features=FOLDER may.",
        "Note: 2 actions overlap another of their class, 3 one of another class; all are kept. --mode=check_data says what a system learns of them.",
        "Written: labels.json, 4 actions in 2 recordings (1 train, 1 test).",
    ]  # fmt: skip
    found = load_annotations(tmp_path / "labels.json")
    assert found.classes == ("run", "walk") and found.recordings["rec2"].subset == "test"
    np.testing.assert_array_equal(found.recordings["rec1"].segments_sec, [[1, 2], [1.5, 2.5], [1.5, 3]])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv", "labels.json"]  # nothing else is left


def test_folders_patterns_and_several_formats_with_the_recordings_beside(run, tmp_path):
    for folder in ("labels", "more", "signals"):
        (tmp_path / folder).mkdir()
    (tmp_path / "labels" / "session.eaf").write_text(EAF)
    (tmp_path / "labels" / "notes.md").write_text("no labels")
    (tmp_path / "more" / "project.json").write_text(json.dumps(VIA))
    for name in ("kitchen", "garden"):
        np.save(tmp_path / "signals" / f"{name}.npy", np.zeros((5, 2), np.float32))
    stop, lines = run(
        "--from",
        "labels",
        "more/*.json",
        "--from=labels/session.eaf",
        "--to",
        "all.json",
        "--features=signals",
    )
    assert stop is None
    assert lines[:2] == ["Read: 1 file of ELAN, 2 labels.", "Read: 1 file of VIA 3, 4 labels."]
    assert "2 dropped: their recording has no file in signals: pan 1 (2)." in lines
    assert "Note: 1 file of signals without labels, left out: garden." in lines
    assert lines[-1] == "Written: all.json, 4 actions in 1 recording (1 train)."
    assert json.loads((tmp_path / "all.json").read_text())["database"]["kitchen"]["subject"] == "Ada"


def test_the_verdict_that_nothing_was_dropped(run, tmp_path):
    (tmp_path / "rec1.txt").write_text("1.0\t2.0\tclap\n")
    assert "Nothing was dropped." in run("--from=rec1.txt", "--to=a.json")[1]
    (tmp_path / "rec1.txt").write_text("1.0\t2.0\tclap\n3.0\t3.0\tsnap\n")
    lines = run("--from=rec1.txt", "--to=a.json")[1]
    assert "Nothing was dropped." not in lines
    lines = run("--from=rec1.txt", "--to=a.json", "--widen_sec=0.5")[1]
    assert "1 changed: they have no length and are widened to 0.5 s: rec1.txt, line 2." in lines
    assert "Nothing was dropped." in lines


def test_what_is_written_is_read_again_to_the_same(run, tmp_path):
    (tmp_path / "mine.csv").write_text(TABLE)
    run("--from=mine.csv", "--to=a.json", "--test=rec2")
    run("--from=a.json", "--to=b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_subject_that_is_a_number_stays(run, tmp_path):
    entry = {"subset": "train", "subject": 0, "annotations": [{"label": "a", "segment": [1, 2]}]}
    (tmp_path / "old.json").write_text(json.dumps({"database": {"r": entry}}))
    run("--from", "old.json", "--to=all.json")
    assert json.loads((tmp_path / "all.json").read_text())["database"]["r"]["subject"] == "0"


def test_a_later_file_replaces_the_recordings_of_earlier_ones(run, tmp_path):
    def write(name, database):
        entries = {
            recording: {"subset": "train", "duration": 9.0, "annotations": [
                {"label": "walk", "segment": segment} for segment in segments
            ]} for recording, segments in database.items()
        }  # fmt: skip
        (tmp_path / name).write_text(json.dumps({"database": entries}))

    write("old.json", {"rec1": [[1, 2], [3, 4]], "rec2": [[5, 6]], "rec3": [[1, 2]]})
    write("corrected.json", {"rec1": [[1, 2.5]], "rec3": [], "rec4": [[7, 8]]})
    stop, lines = run("--from", "old.json", "corrected.json", "--to=all.json", "--replace")
    assert stop is None
    (said,) = [line for line in lines if "dropped" in line]
    assert said.startswith(
        "3 dropped: a later file has their recording (--replace): old.json: recording 'rec1'"
    )
    assert not any("are joined" in line for line in lines)
    database = json.loads((tmp_path / "all.json").read_text())["database"]
    found = {name: [a["segment"] for a in entry["annotations"]] for name, entry in database.items()}
    assert found == {"rec1": [[1, 2.5]], "rec2": [[5, 6]], "rec3": [], "rec4": [[7, 8]]}
    run("--from", "old.json", "corrected.json", "--to=all.json")
    database = json.loads((tmp_path / "all.json").read_text())["database"]
    assert len(database["rec1"]["annotations"]) == 3


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--from=nothing.csv", "--to=a.json"], "Error: --from=nothing.csv: there is no such file."),
        (["--from=empty", "--to=a.json"], "Error: --from=empty: it holds no file of .csv, .eaf, .feather, .json,"),
        (["--from=mine.csv", "--to=a.txt"], "Error: --to=a.txt must end in .json."),
        (["--from=old.json", "--to=old.json"], "Error: --to=old.json is a file that --from names and would be over"),
        (["--from=mine.csv", "--to=a.json", "--features=empty"], "Error: --features=empty holds no features, signals"),
        (["--from=mine.csv", "--to=a.json", "--format=elan"], "Error: mine.csv is damaged, or no XML: syntax error"),
        (["--from=mine.csv", "--to=a.json", "--test=rec9"], "Error: --test names 'rec9', no recording and no subject"),
    ],
)  # fmt: skip
def test_bad_command_lines_are_one_sentence_and_write_nothing(run, tmp_path, words, sentence):
    (tmp_path / "mine.csv").write_text(TABLE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "old.json").write_text('{"database": {}}')
    stop, lines = run(*words)
    assert stop.startswith(sentence) and not lines
    assert not (tmp_path / "a.json").exists() and (tmp_path / "old.json").read_text() == '{"database": {}}'


@pytest.mark.parametrize(
    "words", [["--fps=0"], ["--fps=nan"], ["--widen_sec=-1"], ["--format=xls"], ["--oops"]]
)
def test_bad_flags_are_refused(run, tmp_path, words):
    (tmp_path / "mine.csv").write_text(TABLE)
    stop, lines = run("--from=mine.csv", "--to=a.json", *words)
    assert stop == 2 and words[0].split("=")[0] in lines[-1]


def test_files_of_a_folder_in_no_known_format_are_named_and_left_out(run, tmp_path):
    (tmp_path / "labels" / "old").mkdir(parents=True)
    (tmp_path / "labels" / "a.txt").write_text("1.5\t2.5\twalk\n")
    (tmp_path / "labels" / "README.txt").write_text("How these labels were made.\n")
    (tmp_path / "labels" / "b.txt").write_text("")
    for source in ("labels", "labels/*"):
        stop, lines = run("--from", source, "--to=all.json", "--label_column=x")
        assert stop is None and lines[-1] == "Written: all.json, 1 action in 1 recording (1 train)."
        assert any(
            "README.txt is in no format" in line and line.endswith("It is not read.") for line in lines
        )
        assert any("b.txt is in no format that is known, and empty" in line for line in lines)
        assert any(
            "labels of Audacity label track are not chosen by --label_column" in line for line in lines
        )
    assert "README.txt is in no format" in run("--from", "labels/README.txt", "labels", "--to=all.json")[0]


def test_a_column_that_no_file_has_is_refused(run, tmp_path):
    (tmp_path / "a.csv").write_text("start,end,kind,mood\n0,1,w,h\n")
    (tmp_path / "b.csv").write_text("start,end,mood\n0,1,h\n")
    stop, _ = run("--from", "a.csv", "--to=all.json", "--label_column=kind,modo")
    assert stop == "Error: --label_column names 'modo', which no file has; correct it."
    assert not (tmp_path / "all.json").exists()
    assert run("--from", "a.csv", "b.csv", "--to=all.json", "--label_column=kind,mood")[0] is None


def test_names_may_be_said_one_by_one(run, tmp_path):
    (tmp_path / "a.csv").write_text("file,start,end,mood,act\nr1,0,1,x,y\nr2,0,1,x,y\nr3,0,1,x,y\n")
    words = "--test=r1", "--test=r2", "--label_column=mood", "--label_column=act"
    assert run("--from", "a.csv", "--to=all.json", *words)[0] is None
    database = json.loads((tmp_path / "all.json").read_text())["database"]
    assert [entry["subset"] for entry in database.values()] == ["test", "test", "train"]
    assert [action["label"] for action in database["r1"]["annotations"]] == ["x", "y"]


def test_detections_are_no_labels(run, tmp_path):
    (tmp_path / "found.json").write_text(json.dumps({"results": {"r": []}, "version": "1"}))
    assert "found.json holds detections, not labels" in run("--from", "found.json", "--to=all.json")[0]
