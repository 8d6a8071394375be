"""The error analyses against the published DETAD program, see tests/golden/diagnosis/README.md."""

import dataclasses
import functools
import gzip
import json

import numpy as np
import pytest

from tal_jax.data.annotations import Annotations, Recording, parse_annotations
from tal_jax.evaluation import detad
from tal_jax.evaluation.characteristics import EDGES, bucket_of, characteristics
from tal_jax.evaluation.diagnosis import diagnose
from tal_jax.evaluation.tables import ROW, truth_tables, within_recordings
from tests.golden_case import GOLDEN, GoldenCase

FOLDER = GOLDEN / "diagnosis"
CASES = ["anet_synthetic", "edges", "false_negatives_cbr", "fp_profile_cbr", "fp_profile_scnn", "hand"]
CASES += ["sensitivity_cbr"]
KINDS = {"coverage": "coverage", "length": "length", "num-instances": "num_instances"}


@functools.cache
def read_recordings(data):
    """Tuple of the Recordings of a data file of the cases, in file order."""
    anet = "activitynet" in data
    path = (
        FOLDER / "activitynet13_validation.json.gz" if anet else GOLDEN / "thumos14_eval/ground_truth.json.gz"
    )
    content = json.loads(gzip.decompress(path.read_bytes()))
    if not anet:
        content["classes"] = json.loads((GOLDEN / "thumos14_eval/reference.json").read_text())["classes"]
        with np.load(FOLDER / "thumos14.npz") as file:
            lengths_sec = file["duration_sec"].tolist()
        for entry, length_sec in zip(content["database"].values(), lengths_sec, strict=True):
            entry["duration"] = None if np.isnan(length_sec) else length_sec
    annotations = parse_annotations(content, path)
    return annotations.classes, tuple(annotations.recordings.values())


def rows_of(recording, label, segment_sec, score):
    table = np.zeros(len(label), ROW)
    table["recording"], table["label"], table["segment_sec"], table["score"] = (
        recording,
        label,
        segment_sec,
        score,
    )
    return table


def truths_of(recordings):
    """(truths, annotated, durations_sec) of Recordings in their order."""
    by_name = {f"{i:05}": recording for i, recording in enumerate(recordings)}
    ranks = {name: i for i, name in enumerate(by_name)}
    annotated, _ = truth_tables(by_name, ranks)
    durations_sec = {ranks[name]: recording.duration_sec for name, recording in by_name.items()}
    return within_recordings(annotated, by_name, ranks), annotated, durations_sec


def thumos_detections(detector, names):
    """(rows of the published file, ROW), in the order of that file, its names of recordings as `names`."""
    place = {int(name.rpartition("_")[2]): i for i, name in enumerate(names)}
    with np.load(FOLDER / "thumos14.npz") as file:
        cbr_row, scnn_row, scnn_rank = (file[name] for name in ("cbr_row", "scnn_row", "scnn_rank"))
    if detector == "tiou_0.5":
        with np.load(GOLDEN / "thumos14_eval/cbr.npz") as file:
            video, label, segment_sec, score = (
                file[k][cbr_row] for k in ("video", "label", "segment_sec", "score")
            )
        kept = np.flatnonzero(segment_sec[:, 1] > segment_sec[:, 0])
        rows = kept
    else:
        with np.load(GOLDEN / "thumos14_eval/scnn.npz") as file:
            columns = ("video", "label", "start_cs", "length_cs")
            video, label, start_cs, length_cs = (file[f"{detector}_{name}"][scnn_row] for name in columns)
        segment_sec = np.stack([start_cs, start_cs + length_cs], axis=1) / 100
        score, kept = -scnn_rank.astype(float), slice(None)
        rows = GoldenCase.load("diagnosis/fp_profile_scnn").input("kept")
    recording = [place[number] for number in video[kept].tolist()]
    return rows, rows_of(recording, label[kept], segment_sec[kept], score[kept])


def read_case(name):
    """(case, recordings, rows of the case's detections, ROW of them) of a case with detections."""
    case = GoldenCase.load(f"diagnosis/{name}")
    hyper = case.info["hyper"]
    if "detections" in hyper:
        _, recordings = read_recordings(hyper["data"])
        return case, recordings, *thumos_detections(hyper["detector"], [one.name for one in recordings])
    video, label, segment_sec, score = (
        case.input(f"det_{part}") for part in ("video", "label", "segment", "score")
    )
    if "data" in hyper:
        classes, recordings = read_recordings(hyper["data"])
        by_name = {recording.name: recording for recording in recordings}
        recordings = [by_name[name] for name in hyper["videos"]]
        label = np.array([classes.index(name) for name in hyper["classes"]])[label]
    else:
        of_video, segments, labels = (case.input(f"gt_{part}") for part in ("video", "segment", "label"))
        recordings = []
        for v, length_sec in enumerate(case.input("duration").tolist()):
            own = of_video == v
            recordings.append(Recording(f"{v:05}", "test", length_sec, segments[own], labels[own]))
    return case, recordings, np.arange(len(label)), rows_of(video, label, segment_sec, score)


def edges_of(hyper):
    return {
        KINDS[kind]: [np.inf if x is None else x for x in edges] for kind, edges in hyper["edges"].items()
    }


def answers_fp(case, matches, rows, prefix):
    hyper = case.info["hyper"]
    profile = detad.false_positives(matches, hyper["groups"], hyper["min_tiou"])
    chosen = profile["selected"]
    order = np.argsort(rows[chosen])
    selected = np.broadcast_to(chosen, profile["types"].shape)
    return {
        "selected": rows[chosen][order],
        "error_type": profile["types"][:, chosen][:, order],
        "matched": matches.truth[:, chosen][:, order],
        "group_count": profile["group_counts"],
        "group_size": profile["group_sizes"],
        "group_fraction": profile["group_shares"],
        "fraction": profile["shares"],
        "ap": profile["ap"],
        "average_map": profile["ap"].mean(),
        "ap_removed": profile["ap_without"],
        "gain": profile["gain"],
        "average_instances": matches.average_instances,
        "ap_ordinary": matches.ap(matches.hits, selected, matches.num_truths, None),
    }


def answers_sensitivity(case, matches, rows, buckets):
    base = detad.base_ap(matches)
    found = {"ap": base, "average_map": base.mean(), "average_instances": matches.average_instances}
    for kind, (bucket, count) in buckets.items():
        of_kind = detad.sensitivity(matches, bucket, count)
        lowest_highest = np.array([np.nanmin(of_kind["map"]), np.nanmax(of_kind["map"])])
        found |= {f"{kind}_bucket": bucket, f"{kind}_count": of_kind["counts"], f"{kind}_ap": of_kind["ap"]}
        found |= {f"{kind}_map": of_kind["map"], f"{kind}_relative": lowest_highest / base.mean()}
    return found


def answers_fn(case, matches, rows, buckets):
    least = case.info["hyper"]["minimum_precision"]
    kept = detad.without_hopeless(matches, least["fn"] if isinstance(least, dict) else least)
    missed = detad.missed_truths(kept)
    found = {"unmatched": missed, "unmatched_share": missed.mean(axis=1), "ap": detad.base_ap(kept)}
    found |= {"recall": detad.recall(kept), "average_instances": matches.average_instances}
    for kind, (bucket, count) in buckets.items():
        rates = detad.missed_rates(missed, bucket, count)
        # The program has no share for a bucket without truths, though it has 0 for such a pair of buckets.
        shares = np.where(rates["counts"] > 0, rates["shares"], np.nan)
        found |= {f"{kind}_bucket": bucket, f"{kind}_share": shares, f"{kind}_rate": rates["rates"]}
        found[f"{kind}_rate_per_tiou"] = rates["rates_per_tiou"]
    (first, rows), others = buckets["length"], ("coverage", "num_instances")
    for kind in others:
        second, columns = buckets[kind]
        rates = detad.missed_rates(missed, detad.pair_bucket(first, second, columns), rows * columns)
        found[f"length_x_{kind}_rate"] = rates["rates"].reshape(rows, columns)
        found[f"length_x_{kind}_share"] = rates["shares"].reshape(rows, columns)
    return found


def buckets_of(hyper, truths, annotated, durations_sec):
    """{characteristic: (bucket of each truth, number of buckets)} by the edges of a case, if it has any."""
    values = characteristics(truths, annotated, durations_sec)
    edges_of_kinds = edges_of(hyper) if "edges" in hyper else {}
    return {kind: (bucket_of(values[kind], edges), len(edges) - 1) for kind, edges in edges_of_kinds.items()}


ANSWERS = {"fp": answers_fp, "sensitivity": answers_sensitivity, "fn": answers_fn}
ALONE = {"fp_profile": "fp", "sensitivity": "sensitivity", "false_negatives": "fn"}


def assert_answers(found, expected):
    """Integers and masks are equal, floats to 1e-9, and NaN stands where NaN does."""
    assert set(found) >= set(expected)
    for name, value in expected.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-9, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("name", CASES)
def test_the_analyses_answer_as_the_published_program(name):
    case, recordings, rows, found = read_case(name)
    hyper = case.info["hyper"]
    truths, *others = truths_of(recordings)
    matches = detad.match_all(found, truths, hyper["tiou"])
    rows = rows[np.argsort(-found["score"], kind="stable")]  # of the file, in the order of `matches`
    buckets = buckets_of(hyper, truths, *others)
    outputs = [entry["name"] for entry in case.info["outputs"]]
    alone = [of for start, of in ALONE.items() if name.startswith(start)]
    compared = []
    for analysis in alone or ANSWERS:
        prefix = "" if alone else f"{analysis}_"
        expected = {
            output[len(prefix) :]: case.arrays[output]
            for output in outputs
            if output.startswith(prefix) and not output.endswith("_published_program")
        }
        assert_answers(ANSWERS[analysis](case, matches, rows, buckets), expected)
        compared += [prefix + output for output in expected]
    assert {output for output in outputs if not output.endswith("_published_program")} == set(compared)


@pytest.mark.parametrize("data_set, edges_name", [("thumos", "thumos14"), ("anet", "activitynet")])
def test_characteristics_and_buckets_of_whole_data_sets(data_set, edges_name):
    case = GoldenCase.load("diagnosis/characteristics")
    hyper = case.info["hyper"][data_set]
    expected = {name: value for name, value in case.arrays.items() if data_set in name}
    classes, recordings = read_recordings(hyper["data"])
    truths, annotated, durations_sec = truths_of(recordings)
    np.testing.assert_array_equal(annotated[expected[f"{data_set}_kept"]], truths)
    n = len(truths) / len(np.unique(truths["label"]))
    np.testing.assert_allclose(n, expected[f"{data_set}_average_instances"], rtol=0, atol=1e-9)
    values = characteristics(truths, annotated, durations_sec)
    for kind, edges in edges_of(hyper).items():
        assert EDGES[edges_name][kind] == tuple(edges)
        bucket = bucket_of(values[kind], edges)
        np.testing.assert_allclose(values[kind], expected[f"{data_set}_{kind}"], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(bucket, expected[f"{data_set}_{kind}_bucket"])
        np.testing.assert_array_equal(np.bincount(bucket), expected[f"{data_set}_{kind}_count"])
        on_edges = bucket_of(case.input(f"edge_{data_set}_{kind}"), edges)
        np.testing.assert_array_equal(on_edges, expected[f"edge_{data_set}_{kind}_bucket"])


@pytest.mark.parametrize(
    "name", [name for name in CASES if name not in ("false_negatives_cbr", "sensitivity_cbr")]
)
def test_preferring_the_own_class_in_a_tie_changes_as_many_types_as_there(name):
    case, recordings, rows, found = read_case(name)
    hyper = case.info["hyper"]
    matches = detad.match_all(found, truths_of(recordings)[0], hyper["tiou"])
    first, own = (detad.error_types(matches, hyper["min_tiou"], prefer) for prefer in (False, True))
    selected = detad.group_of(matches, hyper["groups"]) >= 0
    changed = np.sum(first[:, selected] != own[:, selected])
    assert changed == case.info["error_types_that_change_if_the_tie_prefers_the_own_class"]


def test_missed_without_a_least_precision():
    case, recordings, rows, found = read_case("false_negatives_cbr")
    missed = detad.missed_truths(detad.match_all(found, truths_of(recordings)[0], case.info["hyper"]["tiou"]))
    expected = case.info["unmatched_share_without_minimum_precision"]
    np.testing.assert_allclose(missed.mean(axis=1), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["anet_synthetic", "edges", "hand"])
def test_the_diagnosis_reports_what_the_published_program_answers(name):
    case, recordings, _, found = read_case(name)
    hyper, arrays = case.info["hyper"], case.arrays
    classes = tuple(
        map(str, range(int(max(found["label"].max(), *(max(r.labels, default=0) for r in recordings))) + 1))
    )
    by_name = {f"{i:05}": dataclasses.replace(one, subset="test") for i, one in enumerate(recordings)}
    detections = {name: [] for name in by_name}
    found = found[np.argsort(-found["score"], kind="stable")]
    for rank, (recording, label, segment_sec, _) in enumerate(found.tolist()):
        # equal scores rank in the order of the file there, by recording here
        row = {"label": classes[int(label)], "segment": list(segment_sec), "score": 1 - rank / len(found)}
        detections[f"{int(recording):05}"].append(row)
    settings = dict(
        tious=hyper["tiou"], min_tiou=hyper["min_tiou"], groups=hyper["groups"], edges=edges_of(hyper)
    )
    settings |= dict(subset="test", min_precision=hyper["minimum_precision"]["fn"])
    diagnosis = diagnose(Annotations(classes, by_name), detections, **settings)

    def percent(values):
        values = np.array([np.nan if value is None else value for value in values], float)
        return values / 100

    profile, missed = diagnosis["false_positives"], diagnosis["false_negatives"]
    pairs = {
        "sensitivity_average_map": percent([diagnosis["map_avg"]])[0],
        "fp_average_map": percent([profile["map_avg"]])[0],
        "fp_fraction": percent(profile["shares"].values()),
        "fp_gain": percent(profile["gain"].values()),
        "fp_group_size": [group["detections"] for group in profile["groups"]],
        "fp_group_fraction": [percent(group["shares"].values()) for group in profile["groups"]],
        "fn_unmatched_share": percent(missed["missed"].values()),
    }
    for kind, of_kind in diagnosis["sensitivity"].items():
        rows = of_kind["buckets"].values()
        pairs[f"sensitivity_{kind}_map"] = percent(row["map"] for row in rows)
        pairs[f"sensitivity_{kind}_count"] = [row["ground_truths"] for row in rows]
        pairs[f"sensitivity_{kind}_relative"] = [of_kind["lowest_to_base"], of_kind["highest_to_base"]]
        pairs[f"fn_{kind}_rate"] = percent(row["missed"] for row in missed["buckets"][kind].values())
    for kind, table in (("num_instances", missed["pairs"]["length x num_instances"]),):
        rows = [percent(row["missed"] for row in of_name.values()) for of_name in table.values()]
        pairs[f"fn_length_x_{kind}_rate"] = rows
    assert_answers(pairs, {name: arrays[name] for name in pairs})
