"""How fast an exported run sees a stream, and whether its memory grows.

    python -m benchmarks.stream --run=runs/demo/sbhar_demo.zip [--hours=4] [--push_sec=1.0]

The stream is SBHAR's test recordings one after the other, again and again, given --push_sec of them at a
time. Prints seconds of signal for a second of processor time, the longest call of `push`, and the resident
memory after a quarter of the hours and at the end; beside them the speed of `Detector.detect` on the first
hour. Compiling is not counted.
"""

import pathlib
import time

import numpy as np

from benchmarks import measure
from tal_jax import runtime_export
from tal_jax.data.sets import sbhar


def resident_mib():
    """Resident memory of this process, in MiB."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def signal_of(seconds, fps):
    """(T, 6) samples of the test recordings in order, repeated to so many seconds."""
    names = sbhar.bundled_annotations().subset("test").recordings
    once = np.concatenate([sbhar.read_signal(name) for name in names])
    return np.resize(once, (round(seconds * fps), once.shape[1]))


def main():
    """Measures and prints."""
    parser = measure.parser(__doc__)
    parser.add_argument("--run", required=True, type=pathlib.Path)
    parser.add_argument("--hours", default=4.0, type=float)
    parser.add_argument("--push_sec", default=1.0, type=float)
    options = parser.parse_args()
    if not (options.hours > 0 and options.push_sec > 0):
        parser.error("--hours and --push_sec must be above 0.")
    try:
        detector = runtime_export.load(options.run)
        stream = runtime_export.Stream(detector)
        stream.push(signal_of(1, 50))
    except ValueError as error:
        parser.error(f"--run={options.run} must be an exported run of SBHAR's signals: {error}")
    times = detector.about["times"]["samples"]
    fps = times["fps"] / times["stride_frames"]
    samples, push = signal_of(3600 * options.hours, fps), max(1, round(options.push_sec * fps))
    first_hour = samples[: round(3600 * fps)]
    detector.detect(first_hour)
    begin = time.process_time()
    detector.detect(first_hour)
    offline = len(first_hour) / fps / (time.process_time() - begin)
    runtime_export.Stream(detector).push(first_hour)  # compiles
    stream, longest_sec, found, early = runtime_export.Stream(detector), 0.0, 0, 0.0
    begin = time.process_time()
    for i in range(0, len(samples), push):
        started = time.perf_counter()
        found += len(stream.push(samples[i : i + push]))
        longest_sec = max(longest_sec, time.perf_counter() - started)
        early = early or (resident_mib() if i > len(samples) / 4 else 0.0)
    speed = len(samples) / fps / (time.process_time() - begin)
    print(f"stream: {speed:,.0f} x real time of one core, the longest push takes {1e3 * longest_sec:.0f} ms")
    print(f"detect: {offline:,.0f} x real time")
    print(f"{found} detections of {options.hours:g} h were final")
    print(f"memory: {early:.0f} MiB after a quarter, {resident_mib():.0f} MiB at the end")


if __name__ == "__main__":
    measure.end_with_sentence(main)
