"""Time and cost of whole experiments on machines that were not there to measure: prints the tables of
docs/scale.md.

    python -m benchmarks.estimate       about two minutes: XLA counts the operations of every network

What is assumed stands in the tables right below; replace it by your own figures and run this again. What is
counted (operations, windows) comes from the configs and annotations themselves. A range is that of
UTILISATION, first the slow end.
"""

import dataclasses

from benchmarks import flops
from configs import activitynet, hacs, thumos
from tal_jax.data import windows
from tal_jax.data.sets.thumos14 import bundled_annotations, frame_annotations_10fps
from tal_jax.extract import PICTURE

HOUR = 3600.0


@dataclasses.dataclass(frozen=True)
class Machine:
    """The machine of a job: its chips, its processor and its price."""

    chips: int
    peak_flops: float  # a second and chip, dense, in the arithmetic that float32 configs get there
    bytes_per_sec: float  # between chips, each way
    cores: int  # physical CPU cores, of all hosts together
    price: float  # USD an hour and chip


# Peaks: vendors' data sheets, without sparsity: H100 and H200 SXM 495 TFLOP/s in TF32 (989 in bfloat16),
# NVLink 450 GB/s each way; TPU v5e 197 TFLOP/s in bfloat16, links of 200 GB/s in all, here half. ASSUMED:
# prices and cores; put in your provider's.
MACHINES = {
    "1 H100 or H200": Machine(1, 495e12, 450e9, 16, 3.0),
    "8 H100 or H200": Machine(8, 495e12, 450e9, 128, 3.0),
    "TPU v5e-16": Machine(16, 197e12, 100e9, 224, 1.2),
}
# ASSUMED: share of the peak that 3-D convolutions reach, with a window or a few at a time
UTILISATION = (0.05, 0.40)
STEP_SEC = 0.01  # ASSUMED: the least that a step takes, however small its network
CORE_PRICE = 0.04  # ASSUMED: USD an hour and core, for preparation on machines without accelerators
VIDEO_FPS = 30  # ASSUMED, where annotations have no number of frames
HACS_SEC = 150  # ASSUMED: mean length of a HACS video

# MEASURED on one core, python -m benchmarks.prepare, a video of 340 x 256; the time grows with the pixels.
PREPARED_FRAMES_PER_SEC = 1109
READ_FRAMES_PER_SEC = 1373
# MEASURED, docs/performance.md: TV-L1 of a frame of 112 x 112, a core, 0.3 to 0.5 s.
FLOW_SEC = 0.4
FLOW_PIXELS = 112

# PUBLISHED: training and validation videos of ActivityNet 1.3 and their frames in the list that BSN and BMN
# share; videos of HACS Segments, rounded as in configs/hacs.py.
ACTIVITYNET_VIDEOS, ACTIVITYNET_FRAMES, ACTIVITYNET_WINDOW = (9649, 4728), 46_945_792, 768
HACS_VIDEOS = (37_600, 6_000)


@dataclasses.dataclass(frozen=True)
class Job:
    """One experiment."""

    config: object
    num_classes: int
    num_windows: tuple  # training, test
    source_frames: int  # of all videos
    stored_frames: int = 0  # that prepare keeps; 0: the job starts from features
    streams: int = 0  # whose features are extracted; 0: the job starts from frames
    flow: bool = False


def thumos_windows(config, fps_factor):
    """Numbers of training and test windows of the bundled annotations.

    fps_factor: how many stored frames or features there are for one frame at 10 frames a second.
    """
    window = config.window
    grid = dict(
        window=window.frames, stride=window.train_stride_frames, first_frame=window.get("first_frame", 0)
    )
    train, test = 0, 0
    for row in frame_annotations_10fps().values():
        segments, num_frames = row["segments_frame"] * fps_factor, int(row["num_frames"] * fps_factor)
        train += len(windows.training_windows(segments, row["labels"], num_frames, **grid))
    for recording in bundled_annotations().subset("test").recordings.values():
        num_frames = int(recording.duration_sec * 10 * fps_factor)
        test += len(windows.window_offsets(num_frames, window.frames, window.test_stride_frames))
    return train, test


def jobs():
    """dict name -> Job."""
    videos = bundled_annotations().recordings.values()
    frames = sum(video.num_frames for video in videos)
    stored = int(sum(video.duration_sec for video in videos) * 10)
    rgb, flow, features = (thumos.get_config(f"dw_afsd,input={name}") for name in ("rgb", "flow", "features"))
    on_frames = thumos_windows(rgb, 1)
    on_features = thumos_windows(features, 30 / 10 / features.data.stride_frames)
    squeezed = sum(ACTIVITYNET_VIDEOS) * ACTIVITYNET_WINDOW
    weak, of_hacs = hacs.get_config("kt_mgfn,row=cascade"), int(sum(HACS_VIDEOS) * HACS_SEC * VIDEO_FPS)
    weak.data.update(stride_frames=16, snippet_frames=16)
    of_activitynet = {name: activitynet.get_config(f"dw_afsd,input={name}") for name in ("rgb", "flow")}
    sizes = ACTIVITYNET_VIDEOS, ACTIVITYNET_FRAMES, squeezed
    return {
        "THUMOS14, RGB frames": Job(rgb, 20, on_frames, frames, stored),
        "THUMOS14, flow frames": Job(flow, 20, on_frames, frames, stored, flow=True),
        "THUMOS14, features of both": Job(features, 20, on_features, frames, streams=2, flow=True),
        "ActivityNet 1.3, RGB frames": Job(of_activitynet["rgb"], 1, *sizes),
        "ActivityNet 1.3, flow frames": Job(of_activitynet["flow"], 1, *sizes, flow=True),
        "HACS, RGB features, KT-MGFN": Job(weak, 200, HACS_VIDEOS, of_hacs, streams=1),
    }


def prepare_core_sec(job):
    """Decoding for stored frames, and optical flow of stored frames, or of those that features come from."""
    pixels = FLOW_PIXELS if job.stored_frames else PICTURE["crop_pixels"]
    flow = job.flow * (job.stored_frames or job.source_frames) * FLOW_SEC * (pixels / FLOW_PIXELS) ** 2
    return bool(job.stored_frames) * job.source_frames / PREPARED_FRAMES_PER_SEC + flow


def extract_sec(machine, utilisation, num_frames, stride_frames, streams, snippet_flops):
    """The longer of reading the videos on all cores and of the network on all chips, which Beam's workers do
    side by side.
    """
    reading = streams * num_frames / READ_FRAMES_PER_SEC / machine.cores
    flops_per_sec = machine.chips * machine.peak_flops * utilisation
    return max(reading, streams * num_frames / stride_frames * snippet_flops / flops_per_sec)


def step_sec(machine, utilisation, batch, flops_of_window):
    """Computation of a batch, its windows spread over the chips."""
    return max(batch / machine.chips * flops_of_window / (machine.peak_flops * utilisation), STEP_SEC)


def all_reduce_sec(machine, num_parameters):
    """Float32 gradients summed over the chips, in a ring; not hidden behind the computation."""
    return 2 * (1 - 1 / machine.chips) * 4 * num_parameters / machine.bytes_per_sec


def train_sec(machine, utilisation, config, num_windows, cost):
    """Epochs x batches x computation + epochs x updates x all-reduce; a batch has a window for each chip."""
    batch = max(config.train.batch_size, machine.chips)
    one = step_sec(machine, utilisation, batch, cost["train_flops"])
    one += all_reduce_sec(machine, cost["num_parameters"]) / config.train.accumulate_steps
    return config.train.epochs * num_windows / batch * one


def evaluate_sec(machine, utilisation, config, num_windows, cost):
    """The network over all test windows; suppression and scoring take seconds (docs/performance.md) and are
    left out.
    """
    batch = max(config.evaluate.batch_size, machine.chips)
    return num_windows / batch * step_sec(machine, utilisation, batch, cost["test_flops"])


def span(values, unit=1.0):
    """'3.4 to 1.2' of the ends of a range, in the unit; '1.2' if they are the same, '–' of nothing."""
    if not any(values):
        return "–"
    texts = []
    for value in (max(values) / unit, min(values) / unit):
        texts.append("< 0.01" if value < 0.01 else f"{value:.2g}" if value < 10 else f"{value:,.0f}")
    return " to ".join(dict.fromkeys(texts))


def row(*cells):
    """Prints a row of a markdown table."""
    print(f"| {' | '.join(map(str, cells))} |")


def head(*cells):
    """Prints the first two rows of a markdown table."""
    row(*cells)
    print("|" + "---|" * len(cells))


def main():
    """Prints the tables."""
    experiments = jobs()
    costs = {
        name: flops.of_system(job.config, job.num_classes, 1024 * job.streams)
        for name, job in experiments.items()
    }
    head(
        "experiment",
        "GFLOP a training window",
        "a test window",
        "parameters, 10^6",
        "windows, train + test",
        "epochs",
    )
    for name, job in experiments.items():
        cost, (train, test) = costs[name], job.num_windows
        counted = [f"{cost['train_flops'] / 1e9:.4g}", f"{cost['test_flops'] / 1e9:.4g}"]
        counted.append(f"{cost['num_parameters'] / 1e6:.3g}")
        row(name, *counted, f"{train:,} + {test:,}", job.config.train.epochs)
    snippet_flops = flops.of_snippet(16, 224)
    print(f"\nI3D on a snippet of 16 x 224 x 224: {snippet_flops / 1e9:.4g} GFLOP\n")

    head("experiment", "machine", "prepare, h", "extract, h", "train, h", "evaluate, h", "all, h", "USD")
    for name, job in experiments.items():
        for label, machine in MACHINES.items():
            prepare, parts = prepare_core_sec(job) / machine.cores, []
            for use in UTILISATION:
                reads = job.source_frames, job.config.data.stride_frames, job.streams
                extract = job.streams and extract_sec(machine, use, *reads, snippet_flops)
                train = train_sec(machine, use, job.config, job.num_windows[0], costs[name])
                evaluate = evaluate_sec(machine, use, job.config, job.num_windows[1], costs[name])
                parts.append((extract, train, evaluate))
            on_chips = [sum(part) for part in parts]
            on_cores_usd, chips_usd = prepare * machine.cores * CORE_PRICE, machine.chips * machine.price
            usd = [(on_cores_usd + seconds * chips_usd) / HOUR for seconds in on_chips]
            columns = [prepare], *zip(*parts), [prepare + seconds for seconds in on_chips]
            row(name, label, *(span(values, HOUR) for values in columns), span(usd))

    million = 1e6 * HOUR * VIDEO_FPS
    print()
    head("features of 10^6 hours of video, RGB, stride 16", "reading, h", "network, h", "longer, h", "USD")
    for label, machine in MACHINES.items():
        reading = million / READ_FRAMES_PER_SEC / machine.cores
        peak = machine.chips * machine.peak_flops
        network = [million / 16 * snippet_flops / (peak * use) for use in UTILISATION]
        longer = [max(reading, seconds) for seconds in network]
        usd = [seconds / HOUR * machine.chips * machine.price for seconds in longer]
        row(label, *(span(values, HOUR) for values in ([reading], network, longer)), span(usd))
    print(f"\nThe features: {million / 16 * 1024 * 4 / 1e12:.3g} TB of float32.")


if __name__ == "__main__":
    main()
