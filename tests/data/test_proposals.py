import dataclasses
import json
import math

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording
from tal_jax.data.features import build_dataset, data_config
from tal_jax.data.proposals import Proposals, from_candidates, proposals_of, read_proposals, write_proposals
from tal_jax.data.sets import thumos14
from tal_jax.errors import DataError
from tests.golden_case import GOLDEN, GoldenCase

TAG = GOLDEN / "tag"


def recording(name="a", duration_sec=10.0, truths=(), **fields):
    """A recording with truths (label, start_sec, end_sec); of 40 frames unless `fields` says so."""
    segments_sec = np.array([row[1:] for row in truths], np.float64).reshape(-1, 2)
    labels = np.array([row[0] for row in truths], np.int32)
    return Recording(
        name, "test", duration_sec, segments_sec, labels, **{"fps": 4.0, "num_frames": 40} | fields
    )


def annotations_of(*recordings, classes=("jump", "run")):
    return Annotations(classes, {r.name: r for r in recordings})


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def write_json(folder, **results):
    return write(folder, "proposals.json", json.dumps({"results": results}))


def dropped(report):
    """The reasons that apply, by their first word."""
    return {reason.split()[-1]: number for reason, number in report.dropped.items() if number}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name].segments_sec, expected[name].segments_sec)
        np.testing.assert_array_equal(found[name].scores, expected[name].scores)
        np.testing.assert_array_equal(found[name].labels, expected[name].labels)


def test_json_in_seconds_ranked_by_score_then_by_place(tmp_path):
    path = write_json(
        tmp_path,
        a=[
            {"segment": [1, 2], "score": 0.5, "label": "run"},
            {"segment": ["3", 4], "score": "0.75", "label": "swim"},
            {"segment": [5, 6], "score": 0.5},
        ],
        b=[{"segment": [1, 2]}],
    )
    found, report = read_proposals(path, annotations_of(recording(), recording("b"), recording("c")))
    np.testing.assert_array_equal(found["a"].segments_sec, [[3, 4], [1, 2], [5, 6]])
    np.testing.assert_array_equal(found["a"].scores, [0.75, 0.5, 0.5])
    np.testing.assert_array_equal(found["a"].labels, [-1, 1, -1])  # "swim" is no class of the annotations
    np.testing.assert_array_equal(found["b"].scores, [1.0])
    assert found["b"].labels is None
    assert found["c"].segments_sec.shape == (0, 2) and found["c"].scores.shape == (0,)
    assert (report.rows, report.kept, report.cut, report.without_proposals) == (4, 4, 0, ("c",))
    assert report.absent == ("c",)


def test_rows_that_make_no_sense_are_dropped_and_counted(tmp_path):
    segments = [[2, 1], [3, 3], [10, 12], [-3, 0], [-1, 4], [9, 11], [0, math.nan], [0, math.inf], [0, 10]]
    rows = [{"segment": s, "score": 0.5} for s in segments] + [{"segment": [1, 2], "score": math.nan}]
    path = write_json(tmp_path, a=rows, elsewhere=[{"segment": [0, 1]}, {"segment": [2, 1]}])
    found, report = read_proposals(path, annotations_of(recording()))
    np.testing.assert_array_equal(found["a"].segments_sec, [[0, 4], [9, 10], [0, 10]])
    assert dropped(report) == {"reversed": 2, "recording": 2, "finite": 3, "lack": 2}
    assert (report.rows, report.kept, report.cut, report.unknown) == (12, 3, 2, ("elsewhere",))
    assert str(report) == (
        "12 proposals read, 3 kept, in 1 of 1 recordings; dropped: 2 of recordings that the annotations "
        "lack, 3 not finite, "
        "2 empty or reversed, 2 outside their recording; cut at an end of their recording: 2. Not in the "
        "annotations: elsewhere."
    )


@pytest.mark.parametrize("rows", [[], [[4, 2]], [[2, 4]]])
def test_no_proposal_and_one_proposal_are_defined(tmp_path, rows):
    annotations = annotations_of(recording(truths=[(1, 2, 5)]))
    found, _ = read_proposals(write_json(tmp_path, a=[{"segment": row} for row in rows]), annotations)
    assert len(found["a"].scores) == (rows == [[2, 4]])
    write_proposals(tmp_path / "again.json", found, annotations)
    again, report = read_proposals(tmp_path / "again.json", annotations)
    assert_same(again, found)
    assert report.kept == len(found["a"].scores)


def test_a_name_may_have_or_lack_the_prefix_of_activitynet(tmp_path):
    path = write_json(tmp_path, v_a=[{"segment": [1, 2]}], b=[{"segment": [1, 2]}])
    _, report = read_proposals(path, annotations_of(recording("a"), recording("v_b")))
    assert report.kept == 2 and not report.unknown


def test_two_spellings_of_one_recording_are_refused(tmp_path):
    path = write_json(tmp_path, a=[{"segment": [1, 2]}], v_a=[{"segment": [2, 3]}])
    with pytest.raises(
        DataError,
        match="'a' and 'v_a' are both the recording 'a' of the annotations; join them, or rename one",
    ):
        read_proposals(path, annotations_of(recording("a")))
    _, report = read_proposals(path, annotations_of(recording("a"), recording("v_a")))
    assert report.kept == 2


def test_a_recording_without_duration_keeps_its_seconds_but_has_no_frames(tmp_path):
    annotations = annotations_of(recording(duration_sec=None, fps=None, num_frames=None))
    found, _ = read_proposals(write_json(tmp_path, a=[{"segment": [1, 99]}]), annotations)
    np.testing.assert_array_equal(found["a"].segments_sec, [[1, 99]])
    for text in ("a 1 2\n", "#1\na\n40\n1\n0\n1\n0 0 0 1 2\n"):
        _, report = read_proposals(write(tmp_path, "list.txt", text), annotations)
        assert dropped(report) == {"rate": 1}


def test_plain_rows_are_frames_at_the_rate_of_the_recording(tmp_path):
    path = write(tmp_path, "tag.txt", "a 4 8\n\nb 0 50\na 40 44\na 0 2\na 39 48\n")
    annotations = annotations_of(recording(), recording("b", fps=25.0, num_frames=None, duration_sec=None))
    found, report = read_proposals(path, annotations)
    # 40 frames in 10 s
    np.testing.assert_array_equal(found["a"].segments_sec, [[1, 2], [0, 0.5], [9.75, 10]])
    np.testing.assert_array_equal(found["b"].segments_sec, [[0, 2]])
    assert dropped(report) == {"recording": 1} and report.cut == 1
    # 40 frames at 4 a second
    found, report = read_proposals(path, annotations_of(recording(duration_sec=None)))
    np.testing.assert_array_equal(found["a"].segments_sec, [[1, 2], [0, 0.5], [9.75, 10]])
    assert dropped(report) == {"recording": 1, "lack": 1} and report.cut == 1


def test_a_list_tells_its_own_number_of_frames(tmp_path):
    blocks = "# 1\n/frames/a\n100\n1\n1\n2 0 9\n3\n2 0.5 1.0 10 20\n0 0 0 99 200\n0 0 0 100 120\n"
    blocks += (
        "# 2\nb\n10\n2.5\n0\n1\n0 0.0 0.0 5 10\n# 3\nc\n1\n1\n0\n1\n0 0.0 0.0 0.25 0.5\n# 4\nd\n9\n1\n0\n0\n"
    )
    path = write(tmp_path, "list.txt", blocks)
    found, report = read_proposals(path, annotations_of(*map(recording, "abcd")))
    # 100 frames, though annotated with 40
    np.testing.assert_allclose(found["a"].segments_sec, [[1, 2], [9.9, 10]], rtol=1e-12)
    np.testing.assert_allclose(found["b"].segments_sec, [[2, 4]], rtol=1e-12)  # int(10 * 2.5) frames
    # length 1: fractions, as SSN's for ActivityNet
    np.testing.assert_allclose(found["c"].segments_sec, [[2.5, 5]], rtol=1e-12)
    assert report.without_proposals == ("d",) and dropped(report) == {"recording": 1} and report.cut == 1
    assert found["a"].segments_sec.max() <= 10


@pytest.mark.parametrize(
    "rows, expected",
    [
        # no end above 1: fractions of 10 s
        (["xmin,xmax,score", "0.1,0.5,0.25", "0.5,1.0,0.75"], [[5, 10], [1, 5]]),
        (["xmin, xmax_score, score, xmax", "0.1, 9, 0.25, 0.5", "0.5, 9, 0.75, 4"], [[0.5, 4], [0.1, 0.5]]),
        (["xmin,xmax", "1,2", "1,nan"], [[1, 2]]),
        (["xmin,xmax,score"], []),
    ],
)
def test_a_folder_of_csv_is_in_fractions_or_in_seconds(tmp_path, rows, expected):
    folder = write(tmp_path / "csv", "a.csv", "\n".join(rows)).parent
    found, _ = read_proposals(folder, annotations_of(recording()))
    np.testing.assert_allclose(found["a"].segments_sec, np.reshape(expected, (-1, 2)), rtol=1e-12)


@pytest.mark.parametrize(
    "name, text",
    [("p.txt", "a 4 8\n"), ("p.txt", "# 1\na\n40\n1\n0\n1\n0 0 0 4 8\n"), ("csv/a.csv", "xmin,xmax\n1,2\n")],
)
def test_a_byte_order_mark_is_not_part_of_a_file(tmp_path, name, text):
    path = write((tmp_path / name).parent, (tmp_path / name).name, "\ufeff" + text)
    found, _ = read_proposals(path if name == "p.txt" else path.parent, annotations_of(recording()))
    np.testing.assert_array_equal(found["a"].segments_sec, [[1, 2]])


LIST = "# 1\na\n40\n1\n{}\n"


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("p.json", "{", "not valid JSON"),
        ("p.json", '{"results": {"a": [{"score": 1}]}}', "'a', proposal 0: field 'segment' is missing"),
        (
            "p.json",
            '{"results": {"a": [{"segment": [1, null]}]}}',
            "'a', proposal 0: field 'segment' must be a number, found None",
        ),
        (
            "p.json",
            f'{{"results": {{"a": [{{"segment": [0, 1{"0" * 400}]}}]}}}}',
            "a whole number of 401 digits, 1000",
        ),
        (
            "p.json",
            '{"results": {"z": [{"segment": [1, 2]}]}}',
            "none of its recordings .* 'z', that of the annotations 'a'",
        ),
        ("p.txt", "\n", "is empty"),
        ("p.txt", "a 1 2\na 1\n", "line 2: must be 'recording start end'"),
        ("p.txt", "a 1 x\n", "line 1: a time must be a number, found 'x'"),
        ("p.txt", "# 1\na\n", "block at line 1: must be a name"),
        ("p.txt", LIST.format("x\n0"), "block at line 1: must be a name"),
        ("p.txt", LIST.format("0\n2\n0 0 0 1 2"), "says 2 proposals on 40 frames; 1 rows follow"),
        ("p.txt", LIST.format("0\n1\n0 0 1 2"), "line 7: must be 'class best_iou"),
        ("p.txt", LIST.format("0\n1\n0 0 0 1 x"), "line 7: a time must be a number"),
        ("p.txt", "# 1\na\n0\n1\n0\n0\n", "on 0 frames"),
        ("p.txt.xz", "a 1 2\n", "not a text file"),
        ("csv/a.csv", "start,end\n1,2\n", "columns xmin, xmax and score, found start, end"),
        ("csv/a.csv", "", "found none"),
        ("csv/a.csv", f"xmin,xmax\n1,{'2' * 140_000}\n", "line 2: field larger than field limit"),
        ("csv/a.csv", "xmin,xmax,score\n1,2\n", "line 2: score must be a number, found None"),
        ("csv/a.txt", "", "holds no .csv file"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, name, text, words):
    path = write((tmp_path / name).parent, (tmp_path / name).name, text)
    path = path.parent if name.startswith("csv/") else path
    with pytest.raises(DataError, match=words) as error:
        read_proposals(path, annotations_of(recording()))
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere.txt: No such file"):
        read_proposals(tmp_path / "nowhere.txt", annotations_of(recording()))


def test_the_real_list_says_what_it_holds_and_what_it_drops():
    annotations = thumos14.bundled_annotations().subset("test")
    found, report = read_proposals(TAG / "thumos14_tag.txt.xz", annotations)
    assert (report.rows, report.kept, report.cut, report.unknown) == (490, 364, 14, ("video_test_0001292",))
    assert dropped(report) == {"lack": 125, "reversed": 1}
    assert sum(bool(len(p.scores)) for p in found.values()) == 9
    as_pgcn, report = read_proposals(TAG / "thumos14_tag_pgcn.txt.xz", annotations)
    assert (report.rows, report.kept, report.cut) == (489, 364, 14)
    for name in found:
        np.testing.assert_allclose(as_pgcn[name].segments_sec, found[name].segments_sec, rtol=0, atol=1e-9)


def test_a_list_is_read_as_the_published_pgcn_reads_it(tmp_path):
    case = GoldenCase.load("pgcn/proposals")
    path = write(tmp_path, "list.txt", "\n".join(case.info["proposal_file"]))
    names = ["video_test_0000093", "video_test_0000198", "video_test_0000471"]
    found, _ = read_proposals(path, annotations_of(*(recording(name, duration_sec=1.0) for name in names)))
    for i, name in enumerate(names):
        np.testing.assert_allclose(
            found[name].segments_sec, case.arrays[f"v{i}_test_rel"], rtol=0, atol=1e-12
        )


def test_what_is_written_is_read_back_exactly(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "new" / "proposals.json"
    annotations = annotations_of(recording("a"), recording("b"), recording("empty"))
    proposals = {}
    for key, number in (("a", 7), ("b", 1), ("empty", 0)):
        starts, scores = 9 * rng.random(number), np.sort(rng.random(number))[::-1]
        labels = rng.integers(-1, 2, number).astype(np.int32) if key == "a" else None
        proposals[key] = Proposals(np.stack([starts, starts + 0.9], axis=1), scores, labels)
    write_proposals(path, proposals, annotations)
    assert_same(read_proposals(path, annotations)[0], proposals)
    assert len(list(path.parent.iterdir())) == 1


def test_candidates_of_all_classes_become_proposals():
    candidates = {
        "a": (
            np.array([[1, 3], [1, 3], [1, 3.05], [5, 7], [8, 14], [20, 30], [4, 4], [6, 7]]),
            np.array([0, 1, 0, 1, 0, 0, 0, 0]),
            np.array([0.2, 0.6, 0.5, 0.3, 0.4, 0.9, 0.9, math.nan]),
        ),
        "b": (np.zeros((0, 2)), np.zeros(0), np.zeros(0)),
    }
    duration_sec = {"a": 10.0, "b": 10.0}.get
    found = from_candidates(candidates, duration_sec, most=10)
    # tIoU of the first and the third: 0.976
    np.testing.assert_array_equal(found["a"].segments_sec, [[1, 3], [8, 10], [5, 7]])
    np.testing.assert_array_equal(found["a"].scores, [0.6, 0.4, 0.3])
    np.testing.assert_array_equal(found["a"].labels, [1, 0, 1])
    assert found["b"].segments_sec.shape == (0, 2)
    assert_same(
        from_candidates(candidates, duration_sec, most=2), {"a": found["a"].take(slice(2)), "b": found["b"]}
    )
    assert len(from_candidates(candidates, duration_sec, most=10, nms_tiou=0.99)["a"].scores) == 4
    without_classes = from_candidates(
        {"a": (candidates["a"][0], None, candidates["a"][2])}, duration_sec, most=10
    )
    assert_same(without_classes, {"a": dataclasses.replace(found["a"], labels=None)})


def test_proposals_are_cut_where_their_recording_ends():
    """Without an annotated duration that is where its features end, which are read when they are asked for."""
    segments = np.array([[1.0, 3.0], [7.0, 30.0], [9.0, 30.0], [8.0, 9.0]])
    found, read = Proposals(segments, np.arange(4.0), np.arange(4, dtype=np.int32)), []
    recordings = {
        name: recording(name, seconds, fps=10.0) for name, seconds in (("a", None), ("b", None), ("c", 30.0))
    }
    dataset = build_dataset(
        Annotations(("x",), recordings),
        lambda name: read.append(name) or np.ones((90, 1)),
        set(recordings),
        data_config(fps=10.0, train_subset=recordings["a"].subset),
        "here",
    )
    dataset = dataclasses.replace(dataset, proposals=dict.fromkeys(recordings, found))
    assert_same({"c": proposals_of(None, dataset, "c")}, {"c": found})
    assert read == []
    cut = Proposals(
        np.array([[1.0, 3.0], [7.0, 9.0], [8.0, 9.0]]),
        np.array([0.0, 1.0, 3.0]),
        np.array([0, 1, 3], np.int32),
    )
    assert_same({"a": proposals_of(None, dataset, "a")}, {"a": cut})
    assert read == ["a"]
    candidates = {"b": (segments, None, np.arange(4.0))}
    proposed = from_candidates(candidates, dataset.duration_sec, most=9)["b"]
    assert sorted(proposed.segments_sec.tolist()) == [[1, 3], [7, 9], [8, 9]]
