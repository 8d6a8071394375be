"""ELAN, Praat and Audacity: tracks along a recording."""

import pytest

from tal_jax.errors import DataError
from tests.data.labels.case import actions, counted, read

EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+01:00" FORMAT="3.0" VERSION="3.0">
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/my%20videos/kitchen.mp4" MIME_TYPE="video/mp4"/>
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/videos/side.mp4" MIME_TYPE="video/mp4" TIME_ORIGIN="250"/>
    <PROPERTY NAME="lastUsedAnnotationId">5</PROPERTY>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
    <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2500"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="4000"/>
    <TIME_SLOT TIME_SLOT_ID="ts4"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="main" PARTICIPANT="Ada" TIER_ID="activity">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>cut &amp; stir</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>wash</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="main" TIER_ID="speaks">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
      <ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="sub" PARENT_REF="activity" TIER_ID="hand">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a1">
      <ANNOTATION_VALUE>left</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="main" TIER_ID="default"/>
</ANNOTATION_DOCUMENT>
"""


def test_elan_reads_every_tier_that_hangs_from_no_other(tmp_path):
    kind, labels = read(tmp_path, "session.eaf", EAF)
    assert kind == "elan"
    assert actions(labels) == [("kitchen", "cut & stir", 1.0, 2.5), ("kitchen", "speaks", 2.5, 4.0)]
    assert labels.rows[0].where == f"{tmp_path}/session.eaf, line 15"
    assert counted(labels) == {"they have no times of their own (ELAN)": 1}
    assert labels.recordings["kitchen"] == {"subjects": {"Ada"}, "others": ["session"]}
    (note,) = labels.notes
    assert "tiers below another are not read: 'hand'" in note


def test_elan_reads_the_tiers_that_are_named_and_references_take_the_times_of_their_parent(tmp_path):
    _, labels = read(tmp_path, "session.eaf", EAF, label_column=("hand",))
    assert actions(labels) == [("kitchen", "left", 1.0, 2.5)] and not labels.notes
    with pytest.raises(DataError, match="has no tier 'foot' .*'activity', 'speaks', 'hand', 'default'"):
        read(tmp_path, "session.eaf", EAF, label_column=("foot",))


def test_elan_offset_of_the_media_is_added(tmp_path):
    moved = EAF.replace('kitchen.mp4" MIME', 'kitchen.mp4" TIME_ORIGIN="250" MIME')
    _, labels = read(tmp_path, "session.eaf", moved)
    assert actions(labels)[0] == ("kitchen", "cut & stir", 1.25, 2.75)
    assert labels.recordings["kitchen"]["others"] == ["side", "session"]  # on the same time axis


def test_elan_without_media_is_called_like_the_file(tmp_path):
    bare = "\n".join(line for line in EAF.splitlines() if "MEDIA_DESCRIPTOR" not in line)
    assert [*read(tmp_path, "session.eaf", bare)[1].recordings] == ["session"]


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY c SYSTEM "file:///etc/hostname">]>'


@pytest.mark.parametrize("document_type", [BOMB, OUTSIDE, "<!DOCTYPE a>"])
@pytest.mark.parametrize("code", ["utf-8", "utf-16"])
def test_elan_expands_no_entity(tmp_path, document_type, code):
    head, rest = EAF.split("\n", 1)
    text = head.replace("UTF-8", code) + document_type + rest.replace("wash", "&c;")
    with pytest.raises(DataError, match="session.eaf has a document type"):
        read(tmp_path, "session.eaf", text.encode(code))


@pytest.mark.parametrize(
    "old, new, sentence",
    [
        ("</TIME_ORDER>", "", "session.eaf is damaged, or no XML: mismatched tag"),
        ("ANNOTATION_DOCUMENT", "html", "no ELAN file: it begins with <html>"),
        ('"milliseconds"', '"PAL"', "its times are in PAL"),
        ('"1000"', '"soon"', "session.eaf, line 15: a time must be .* found 'soon'"),
    ],
)
def test_bad_elan_files_are_one_sentence(tmp_path, old, new, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "session.eaf", EAF.replace(old, new))


def test_references_in_a_ring_have_no_times(tmp_path):
    ring = EAF.replace('ANNOTATION_REF="a1"', 'ANNOTATION_REF="a4"')
    _, labels = read(tmp_path, "session.eaf", ring, label_column=("hand",))
    assert not labels.rows and counted(labels) == {"they have no times of their own (ELAN)": 1}


TEXTGRID = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0 
xmax = 12.5 
tiers? <exists> 
size = 2 
item []: 
    item [1]:
        class = "IntervalTier" 
        name = "gait" 
        xmin = 0 
        xmax = 12.5 
        intervals: size = 3 
        intervals [1]:
            xmin = 5.551115123125783e-17 
            xmax = 3.25 
            text = "walk ""fast""" 
        intervals [2]:
            xmin = 3.25 
            xmax = 10 
            text = "" 
        intervals [3]:
            xmin = 10 
            xmax = 12.5 
            text = "run" 
    item [2]:
        class = "TextTier" 
        name = "steps" 
        xmin = 0 
        xmax = 12.5 
        points: size = 1 
        points [1]:
            number = 1.5 
            mark = "heel" 
'''  # fmt: skip
SHORT = """File type = "ooTextFile"
"TextGrid"

0
12.5
<exists>
1 ! one tier
"IntervalTier"
"gait"
0
12.5
1
10
12.5
"run"
"""
GAIT = [("walk7", 'walk "fast"', 0.0, 3.25), ("walk7", "run", 10.0, 12.5)]


@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16"])
def test_textgrid(tmp_path, code):
    kind, labels = read(tmp_path, "walk7.TextGrid", TEXTGRID.encode(code))
    assert kind == "textgrid" and labels.recordings["walk7"]["duration"] == 12.5
    assert actions(labels) == [*GAIT, ("walk7", "heel", 1.5, 1.5)]
    assert labels.rows[1].where.endswith("walk7.TextGrid, line 24")
    chosen = read(tmp_path, "walk7.TextGrid", TEXTGRID.encode(code), label_column=("gait",))[1]
    assert actions(chosen) == GAIT


def test_short_textgrid(tmp_path):
    assert actions(read(tmp_path, "walk7.TextGrid", SHORT)[1]) == GAIT[1:]


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"ooBinaryFile\x08TextGrid", "is a binary TextGrid; in Praat, save it as a text file"),
        (b"PK\x03\x04\0\0", "is no text file"),
        (b'"ooTextFile" "PitchTier" 0 1', "is no TextGrid"),
        (b"", "walk7.TextGrid, line 1: a text is missing, found the end of the file"),
        (TEXTGRID[:-20].encode(), "line 35: a text is missing, found the end of the file"),
        (
            TEXTGRID.replace("xmax = 3.25", "xmax = soon").encode(),
            "line 18: a number is missing, found .walk",
        ),
        (TEXTGRID.replace("size = 3", "size = -3").encode(), "line 14: a number of intervals is -3"),
        (TEXTGRID.replace("size = 3", "size = 99999999999").encode(), "line 28: a number is missing"),
    ],
)
def test_bad_textgrids_are_one_sentence(tmp_path, content, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "walk7.TextGrid", content)


def test_audacity(tmp_path):
    text = "0.500000\t1.750000\tclap\n\\\t100.0\t2000.0\n3,25\t3,25\tsnap  twice\n4.0\t5.0\t\n\n"
    kind, labels = read(tmp_path, "take3.txt", text)
    assert kind == "audacity"
    assert actions(labels) == [
        ("take3", "clap", 0.5, 1.75),
        ("take3", "snap twice", 3.25, 3.25),
        ("take3", "", 4.0, 5.0),
    ]
    assert labels.rows[1].where == f"{tmp_path}/take3.txt, line 3"


def test_audacity_without_a_label_is_a_recording_without_an_action(tmp_path):
    _, labels = read(tmp_path, "take3.txt", "", kind="audacity")
    assert [*labels.recordings] == ["take3"] and not labels.rows


@pytest.mark.parametrize(
    "text, sentence",
    [("1.0\t2.0\tclap\nhello\n", "take3.txt, line 2 must be"), ("1.0\t2.0\tx\na\tb\tc\n", "line 2: a time")],
)
def test_bad_audacity_files_are_one_sentence(tmp_path, text, sentence):
    with pytest.raises(DataError, match=sentence):
        read(tmp_path, "take3.txt", text)
