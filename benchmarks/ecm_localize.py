"""Times ECM's localization: from the class activation sequence of one video to the detections that
suppression leaves.

    python -m benchmarks.ecm_localize

Prints the best of several runs in milliseconds, after a first one. Seconds on two CPU cores. The published
code took 32 ms for the first row on a machine that did other work too.
"""

import functools

import ml_collections
import numpy as np

from benchmarks.measure import best_ms
from tal_jax.ops.nms import hard_nms
from tal_jax.systems.ecm.decode import localize
from tests.golden_case import GoldenCase


def golden_config(case):
    """The config of a golden case "ecm/localize_...", as far as `localize` reads it."""
    settings, thresholds = case.info["hyper_parameters"], case.arrays["thresholds"].tolist()
    return ml_collections.ConfigDict(
        {
            "localize": {
                "min_probability": settings["cls_score_th"],
                "thresholds": tuple(thresholds),
                "outer_ratio": settings["outer_lambda"],
                "probability_weight": settings["conf_gamma"],
            }
        }
    )


def golden_arrays(case):
    """The outputs of the network that `localize` reads: dict of `cas` (T, K) and `probabilities` (K,)."""
    return {"cas": np.ascontiguousarray(case.arrays["cas"].T), "probabilities": case.arrays["score"]}


def seconds_of(case, segments_frame):
    """Segments (M, 2) in seconds as the published code counts: by the frame rate (THUMOS14) or the duration
    (ActivityNet).
    """
    settings = case.info["hyper_parameters"]
    if "fps" in settings:
        return segments_frame / settings["fps"]
    return segments_frame / settings["frame_num"] * settings["duration_s"]


def detect(case, config, arrays):
    """Detections of the case's video: rows [class, start_sec, end_sec, score], by class, the best first."""
    settings = case.info["hyper_parameters"]
    segments_frame, classes, scores = localize(config, arrays, settings["frame_num"])
    segments_sec = seconds_of(case, segments_frame)
    detections = [np.zeros((0, 4))]
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        rows = rows[hard_nms(segments_sec[rows], scores[rows], settings["nms"], extra_length=1.0)]
        detections.append(np.column_stack([classes[rows], segments_sec[rows], scores[rows]]))
    return np.concatenate(detections)


def busy_arrays(case):
    """The case's arrays as if every class were one of its likely ones, each at another time."""
    cas, likely = case.arrays["cas"], case.arrays["confident_classes"]
    rolled = [np.roll(cas[likely[label % len(likely)]], 37 * label) for label in range(len(cas))]
    return {"cas": np.stack(rolled, axis=-1), "probabilities": np.full(len(cas), 0.5, np.float32)}


def main():
    """Prints the table."""
    case = GoldenCase.load("ecm/localize_thumos")
    config = golden_config(case)
    videos = {"2 (golden case localize_thumos)": golden_arrays(case), "20, all busy": busy_arrays(case)}
    snippets, num_frames = len(golden_arrays(case)["cas"]), case.info["hyper_parameters"]["frame_num"]
    thresholds = len(config.localize.thresholds)
    print(f"{snippets} snippets, {num_frames} frames, {thresholds} thresholds, milliseconds\n")
    print("| likely classes | segments | kept | localize | with suppression |\n|---|---|---|---|---|")
    for name, arrays in videos.items():
        candidates, kept = len(localize(config, arrays, num_frames)[0]), len(detect(case, config, arrays))
        localize_ms = best_ms(functools.partial(localize, config, arrays, num_frames), repeats=20)
        detect_ms = best_ms(functools.partial(detect, case, config, arrays), repeats=20)
        print(f"| {name} | {candidates} | {kept} | {localize_ms:.1f} | {detect_ms:.1f} |", flush=True)


if __name__ == "__main__":
    main()
