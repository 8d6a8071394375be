import json

import pytest

from tal_jax.data.annotations import load_annotations
from tal_jax.data.detections_file import read_detections
from tal_jax.data.names import MAX_BYTES, match_names, require_label, require_name
from tal_jax.data.proposal_files import read_blocks
from tal_jax.data.recording_scores import read_recording_scores
from tal_jax.data.video import stored_name
from tal_jax.errors import DataError
from tal_jax.runtime.files import replacing

BAD_NAMES = [
    "../x",
    "/abs/x",
    "a/b",
    "a\\b",
    "..",
    ".hidden",
    "",
    "two\nlines",
    "nul\0",
    "\x1b[31mred",
    "x" * 300,
    "é" * 119,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_no_file_can_have_is_refused_by_every_reader(tmp_path, name):
    readers = {
        "annotations": ({"database": {name: {"subset": "train"}}}, load_annotations),
        "detections": ({"results": {name: []}}, read_detections),
        "proposals": ({"results": {name: []}}, read_blocks),
        "scores": (
            {"class": ["run"], "results": {name: [1]}},
            lambda path: read_recording_scores(path, ["run"]),
        ),
    }
    for kind, (content, read) in readers.items():
        (tmp_path / f"{kind}.json").write_text(json.dumps(content))
        with pytest.raises(
            DataError, match=f"{kind}.json: the recording's name .* is no plain file name"
        ) as error:
            read(tmp_path / f"{kind}.json")
        assert str(error.value).isprintable()


def test_names_in_lists_of_proposals_are_names_too(tmp_path):
    (tmp_path / "list.txt").write_text("../x 1 2\n")
    with pytest.raises(DataError, match="list.txt: the recording's name '../x' is no plain file name"):
        read_blocks(tmp_path / "list.txt")


@pytest.mark.parametrize("name", ["rec1", "v_-0x.1 (2)", "Ünïcödé", "走る", "x" * 236])
def test_plain_names(name):
    require_name(name, "file")


@pytest.mark.parametrize("label", ["", " ", "\x1b[31mjump", "jump\n", "ju\x07mp", "\u2028"])
def test_a_label_that_a_terminal_cannot_show_is_refused(tmp_path, label):
    row = {"label": label, "segment": [1, 2], "score": 1}
    (tmp_path / "labels.json").write_text(
        json.dumps({"database": {"a": {"subset": "train", "annotations": [row]}}})
    )
    (tmp_path / "classes.json").write_text(
        json.dumps({"classes": [label], "database": {"a": {"subset": "train"}}})
    )
    (tmp_path / "found.json").write_text(json.dumps({"results": {"a": [row]}}))
    for name, read in {
        "labels": load_annotations,
        "classes": load_annotations,
        "found": read_detections,
    }.items():
        with pytest.raises(
            DataError, match=f"{name}.json.* the label .* is empty or holds a control character"
        ) as error:
            read(tmp_path / f"{name}.json")
        assert str(error.value).isprintable()


def test_labels_of_any_script():
    for label in ("long jump", "走る", "پرش\u200cبلند", "🏃"):
        require_label(label, "file")


def test_names_match_despite_prefix_suffix_and_case():
    known = ("rec1", "v_abc", "Rec.1", "twin", "Twin")
    names = [
        "rec1",
        "v_rec1",
        "rec1.mp4",
        "REC1",
        "V_Rec1.MP4",
        "abc",
        "abc.npy",
        "rec.1",
        "TWIN",
        "twin",
        "rec1.x",
        "other",
    ]
    expected = ["rec1", "rec1", "rec1", "rec1", "rec1", "v_abc", "v_abc", "Rec.1", None, "twin", None, None]
    assert list(match_names(names, known).values()) == expected


@pytest.mark.parametrize("suffix", [".npy", ".wav", ".mp4", ".webm"])
def test_suffixes_of_files_of_both_kinds_are_left_aside(suffix):
    assert match_names([f"a{suffix}"], ["a"]) == {f"a{suffix}": "a"}


def test_the_longest_name_leaves_room_for_the_longest_file_on_its_way(tmp_path):
    with replacing(tmp_path / f"{'x' * MAX_BYTES}.TextGrid") as path:
        path.write_text("")
    assert len(path.name) == 255


@pytest.mark.parametrize("name", ["x" * 237, "a\\b", "\x1b[31mred", "\udcff"])
def test_a_video_that_no_annotation_can_name_is_refused(tmp_path, name):
    with pytest.raises(
        DataError, match="The video .*: the recording's name .* is no plain file name; .* 1 to 236 bytes"
    ):
        stored_name(tmp_path / f"{name}.mp4")
