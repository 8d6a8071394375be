"""How long scoring takes: tal_jax's evaluator and one in plain Python, on the same detections in the same
run.

    python -m benchmarks.evaluation

200 made-up detections on each of the 210 test videos of THUMOS14 (its real ground truth), 5 thresholds. Both
evaluators start from the results dict and are run whole; the time is the best of 5 runs after one to warm up
(plain Python: 1 run).
"""

import time

import numpy as np

from benchmarks.measure import figures
from tal_jax.data.sets import thumos14
from tal_jax.evaluation.detection import PROTOCOLS, evaluate_detections
from tests.evaluation.plain_evaluator import plain_ap

TIOUS = (0.3, 0.4, 0.5, 0.6, 0.7)


def make_detections(annotations, per_recording, seed=0):
    """Results with truths shifted and stretched (7 of 10 detections) and segments anywhere, of any class (3
    of 10).
    """
    rng = np.random.default_rng(seed)
    results = {}
    for name, recording in annotations.recordings.items():
        of_truth = rng.integers(0, len(recording.labels), per_recording)
        segments_sec = recording.segments_sec[of_truth]
        lengths_sec = np.diff(segments_sec)
        segments_sec = np.sort(segments_sec + rng.normal(0, 0.3, (per_recording, 2)) * lengths_sec, axis=1)
        near = rng.random(per_recording) < 0.7
        shift_sec = np.where(near, 0, rng.uniform(0, recording.duration_sec, per_recording))
        labels = np.where(
            near, recording.labels[of_truth], rng.integers(0, len(annotations.classes), per_recording)
        )
        segments_sec = segments_sec + shift_sec[:, None]
        rows = zip(labels, segments_sec.tolist(), rng.random(per_recording).tolist(), strict=True)
        results[name] = [
            {"label": annotations.classes[k], "segment": segment, "score": score}
            for k, segment, score in rows
        ]
    return results


def main():
    """Prints the table."""
    annotations = thumos14.bundled_annotations().subset("test")
    results = make_detections(annotations, per_recording=200)
    count = sum(map(len, results.values()))
    print(f"{count:,} detections, {len(results)} recordings, {len(TIOUS)} thresholds\n")
    print("| protocol | tal_jax, s | plain Python, s | times faster | largest difference of an AP, % |")
    print("|---|---|---|---|---|")
    for protocol in PROTOCOLS:
        settings = dict(subset="test", tious=TIOUS, protocol=protocol)
        ours = figures(lambda: evaluate_detections(annotations, results, **settings), 5)["wall_s"]
        scores, start = evaluate_detections(annotations, results, **settings), time.perf_counter()
        expected = plain_ap(annotations, results, **settings)
        plain = time.perf_counter() - start
        difference = max(
            abs(100 * value - percent)
            for label, values in expected.items()
            for value, percent in zip(values, scores["ap"][label].values(), strict=True)
        )
        print(f"| {protocol} | {ours:.3f} | {plain:.2f} | {plain / ours:.0f} | {difference:.0e} |")


if __name__ == "__main__":
    main()
