"""Which recording a name means: that of a file, or that of the first file of labels that has it."""

import pytest

from tal_jax.data.labels.joined import join_labels
from tal_jax.data.labels.media import Media
from tal_jax.errors import DataError
from tests.data.labels.case import folder_of, labels, segments


def test_a_recording_has_one_name_in_all_files_without_a_folder():
    old = labels(("P01", "walk", 1.0, 2.0), ("P02", "walk", 1.0, 2.0))
    new = labels(("v_P01", "run", 3.0, 4.0), ("camera", "run", 1.0, 2.0), ("P03", "run", 1.0, 2.0))
    new.know("camera", others=["P02"])  # as BORIS calls its media and its observation
    joined = join_labels([old, new], replace=True)
    assert [*joined.content["database"]] == ["P01", "P02", "P03"]
    assert segments(joined, "P01") == [("run", 3.0, 4.0)] and segments(joined, "P02") == [("run", 1.0, 2.0)]
    assert "'v_P01' is taken to be the 'P01' of a file before." in joined.notes
    both = labels(("P01", "run", 3.0, 4.0), ("v_P01", "run", 5.0, 6.0))  # are two in their own file
    first = labels(("P01", "walk", 1.0, 2.0))
    assert [*join_labels([first, both]).content["database"]] == ["P01", "v_P01"]
    two = labels(("v_P01", "run", 3.0, 4.0), ("p01", "run", 5.0, 6.0))
    assert [*join_labels([first, two]).content["database"]] == ["P01", "v_P01", "p01"]
    joined = join_labels([first, labels(("v_P01", "run", 3.0, 4.0)), both])
    assert all("'v_P01' of a file before" not in note for note in joined.notes)


def test_other_names_of_the_first_file_count_too():
    boris = labels(("camera", "walk", 1.0, 2.0))
    boris.know("camera", others=["obs1"])
    joined = join_labels([boris, labels(("obs1", "run", 3.0, 4.0))], replace=True)
    assert [*joined.content["database"]] == ["camera"] and segments(joined, "camera") == [("run", 3.0, 4.0)]


def test_another_name_that_is_a_recording_goes_before_the_name_of_a_camera():
    old, one, two = (
        labels(("r1", "a", 1, 2), ("r2", "a", 1, 2)),
        labels(("cam", "b", 3, 4)),
        labels(("cam", "c", 5, 6)),
    )
    one.know("cam", others=["r1"])
    two.know("cam", others=["r2"])
    joined = join_labels([old, one, two])
    assert segments(joined, "r1") == [("a", 1, 2), ("b", 3, 4)]
    assert segments(joined, "r2") == [("a", 1, 2), ("c", 5, 6)]


def test_recordings_that_share_an_other_name_alone_are_two():
    one, two = labels(("A", "walk", 1.0, 2.0)), labels(("B", "run", 3.0, 4.0))
    one.know("A", others=["1"])
    two.know("B", others=["1"])  # the first observation of another project
    assert [*join_labels([one, two], replace=True).content["database"]] == ["A", "B"]


def test_media_of_one_name_are_told_apart_by_the_names_of_the_files_of_labels(tmp_path):
    media, of_files = folder_of(tmp_path / "signals", p1=10, p2=10), []
    for person in ("p1", "p2"):
        found = labels(("video", person, 1, 2))
        found.name_media(f"{person}/video.mp4", "a place")
        found.know("video", others=[person])
        of_files.append(found)
    database = join_labels(of_files, media).content["database"]
    assert {name: entry["annotations"][0]["label"] for name, entry in database.items()} == dict(
        p1="p1", p2="p2"
    )
    with pytest.raises(DataError, match="'p1' and 'p2' both hold a 'video'"):
        join_labels(of_files)
    (tmp_path / "signals" / "p2.csv").unlink()  # and then its labels are of no recording
    joined = join_labels(of_files, Media(tmp_path / "signals"))
    assert [*joined.content["database"]] == ["p1"] and joined.unmatched == {"video": 1}


@pytest.mark.parametrize("turn", [1, -1])
def test_another_file_may_say_what_else_a_recording_is_called(tmp_path, turn):
    media = folder_of(tmp_path / "signals", cam1=10)
    plain, of_elan = labels(("obs1", "x", 1, 2)), labels(("obs1", "x", 3, 4))
    of_elan.know("obs1", others=["cam1"])
    joined = join_labels([plain, of_elan][::turn], media)
    assert segments(joined, "cam1") == [("x", 1, 2), ("x", 3, 4)] and not joined.unmatched


def test_two_names_of_one_file_that_are_one_recording_are_said(tmp_path):
    media = folder_of(tmp_path / "signals", clip=10)
    joined = join_labels([labels(("Clip", "x", 1, 2), ("v_clip", "x", 3, 4))], media)
    assert segments(joined, "clip") == [("x", 1, 2), ("x", 3, 4)]
    assert any("'Clip' and 'v_clip' of a file of labels are both 'clip' of" in note for note in joined.notes)


def test_accents_of_two_spellings_are_one_name_and_one_label(tmp_path):
    media = folder_of(tmp_path / "signals", **{"cafe\u0301": 10})
    joined = join_labels([labels(("caf\u00e9", "bo\u0302t", 1, 2), ("caf\u00e9", "b\u00f4t", 3, 4))], media)
    ((_, entry),) = joined.content["database"].items()
    assert [action["label"] for action in entry["annotations"]] == ["b\u00f4t"] * 2
    found = labels(("a", "bo\u0302t", 1, 2))
    found.classes = ("z", "bo\u0302t")
    assert join_labels([found]).content["classes"] == ["z", "b\u00f4t"]


def test_names_match_those_of_the_files_and_others_are_dropped(tmp_path):
    media = folder_of(tmp_path / "signals", day1=10, day2=20)
    found = labels(
        ("DAY1", "x", 1, 2), ("side", "x", 3, 4), ("day3", "x", 1, 2), ("day3", "x", 5, 6), day4={}
    )
    found.know("side", others=["session", "day2"])
    joined = join_labels([found], media)
    assert [*joined.content["database"]] == ["day1", "day2"]
    assert joined.unmatched == {"day3": 2, "day4": 0} and not joined.dropped
    for name, seconds in (("day1", 10), ("day2", 20)):
        assert joined.content["database"][name]["duration"] == seconds
        assert joined.content["database"][name]["fps"] == 2
    sentence = (
        "none of the 1 labelled recordings has a file in .*signals: the first is 'x', that of the folder 'day"
    )
    with pytest.raises(DataError, match=sentence):
        join_labels([labels(("x", "x", 1, 2))], media)
