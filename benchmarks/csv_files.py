"""Reads CSV files of sensor samples as training does: 100,000 x 6 numbers each, names, no time stamps.

    python -m benchmarks.csv_files [--files=200]

Prints megabytes of text a second of one core, by CPU time, and NumPy's own reader on one of the files beside
it. Needs 5 MB a file in the temporary folder.
"""

import argparse
import pathlib
import tempfile
import time

import numpy as np

from tal_jax.data.feature_files import read_features
from tal_jax.data.features import data_config

SAMPLES, CHANNELS = 100_000, 6


def write_files(folder, count):
    """Writes `count` files of the same text; how many bytes they have."""
    values = np.random.default_rng(0).normal(size=(SAMPLES, CHANNELS))
    names = ",".join(f"channel{i}" for i in range(CHANNELS))
    np.savetxt(folder / "0.csv", values, delimiter=",", fmt="%.6f", header=names, comments="")
    text = (folder / "0.csv").read_bytes()
    for i in range(1, count):
        (folder / f"{i}.csv").write_bytes(text)
    return count * len(text)


def main():
    """Prints the speed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=200)
    count = parser.parse_args().files
    with tempfile.TemporaryDirectory() as place:
        folder, data = pathlib.Path(place), data_config()
        num_bytes = write_files(folder, count)
        read_features(folder / "0.csv", data)  # imports and caches
        wall, cpu = time.perf_counter(), time.process_time()
        for i in range(count):
            found = read_features(folder / f"{i}.csv", data)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        assert found.array.shape == (SAMPLES, CHANNELS)
        begin = time.process_time()
        np.loadtxt(folder / "0.csv", delimiter=",", skiprows=1, dtype=np.float32)
        numpy_sec = time.process_time() - begin
    megabytes = num_bytes / 1e6
    print(f"{count} files of {SAMPLES} x {CHANNELS}, {megabytes:.0f} MB: {cpu:.1f} CPU s, {wall:.1f} s")
    print(f"{megabytes / cpu:.0f} MB/s a core; numpy.loadtxt: {megabytes / count / numpy_sec:.0f} MB/s")


if __name__ == "__main__":
    main()
