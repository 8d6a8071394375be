"""What a person reads of an error."""

import logging
import pickle

from tal_jax import prepare, report
from tal_jax.errors import DataError, PlainFormatter, WarnedOnce, sentence_of


def test_a_sentence_is_on_one_line_and_shows_all_of_its_characters():
    error = DataError("a.csv: line 3 has '\x1b[2J', 'caf\u00e9\u2028' and '\ud800'\nwhich is no number.")
    assert str(error) == r"a.csv: line 3 has '\x1b[2J', 'café\u2028' and '\ud800' which is no number."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_warning_is_let_through_once():
    once = WarnedOnce()
    record = lambda level, text: logging.LogRecord("tal_jax", level, "", 0, "%s", (text,), None)
    assert [once.filter(record(logging.WARNING, text)) for text in "aab"] == [True, False, True]
    assert all(once.filter(record(logging.INFO, text)) for text in "acc")
    assert once.filter(record(logging.WARNING, "c"))


RED, SHOWN = "a\x1b[31m", r"a\x1b[31m"


def test_what_is_printed_and_logged_shows_all_characters_of_the_files_it_quotes(tmp_path, capsys):
    assert (
        sentence_of(PermissionError(13, "Permission denied", RED))
        == f"Cannot use {SHOWN}: Permission denied."
    )
    assert sentence_of(ValueError(RED)) == SHOWN
    record = logging.LogRecord("tal_jax", logging.WARNING, "", 0, "%s: a note", (RED,), None)
    assert PlainFormatter().format(record) == f"{SHOWN}: a note"
    report.print_check(f"1 recordings\n{RED}", [f"Note: {RED}", f"Recording {RED}"])
    report.print_detections(RED, [{"segment": [1, 2], "label": "run", "score": 0.9}])
    report.print_detections(RED, [])
    for name in (f"{RED}.txt", f"{RED}.mp4"):
        (tmp_path / name).write_bytes(b"no video")
    prepare.prepare("folder", tmp_path, tmp_path / "out")
    out = capsys.readouterr().out.splitlines()
    assert "\x1b" not in "".join(out) and all(
        line in out for line in ("1 recordings", SHOWN, f"Note: {SHOWN}", f"Recording {SHOWN}")
    )
    assert f"1 file(s) are no videos and are left out: {SHOWN}.txt." in out
    assert sum(SHOWN in line for line in out) == 7
