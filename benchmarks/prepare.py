"""Time of decoding, sampling at 10 frames a second and resizing to 112x112: tal_jax against the ffmpeg
command line.

    python -m benchmarks.prepare

Renders a video of 340x256, 30 s at 30 frames a second, in H.264. Both read the file and write the small
frames, on one thread; CPU seconds, the least of 5 runs in turns, ffmpeg's start included and Python's not.
The last row is what feature extraction reads: every frame, cut to 224x224.
ffmpeg comes with `apt-get install ffmpeg` or `pip install imageio-ffmpeg`.
"""

import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import av
import cv2
import numpy as np

from tal_jax.data.video import read_frames, store_video
from tal_jax.extract import cropped

FPS, DURATION_SEC, HEIGHT, WIDTH, SIZE = 30, 30, 256, 340, 112
REPEATS = 5


def render(path):
    """A textured scene under a moving, slightly shaking camera, with noise."""
    rng = np.random.default_rng(0)
    num_frames = FPS * DURATION_SEC
    texture = rng.integers(0, 255, (40, 120, 3), np.uint8)
    size = WIDTH + num_frames, HEIGHT + 20
    scene = cv2.resize(texture, size, interpolation=cv2.INTER_CUBIC).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.height, stream.width, stream.pix_fmt = HEIGHT, WIDTH, "yuv420p"
        stream.bit_rate = 1_000_000  # as videos of this size come from the web
        for number in range(num_frames):
            down = rng.integers(0, 20)
            frame = scene[down : down + HEIGHT, number : number + WIDTH]
            frame = frame + rng.integers(-4, 5, (HEIGHT, WIDTH, 1))
            picture = av.VideoFrame.from_ndarray(frame.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def find_ffmpeg():
    """Path of an ffmpeg, None if there is none."""
    try:
        import imageio_ffmpeg
    except ImportError:
        return shutil.which("ffmpeg")
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


def ours_sec(video_file, folder):
    """CPU seconds of `store_video`."""
    shutil.rmtree(folder, ignore_errors=True)
    start_sec = time.process_time()
    store_video(video_file, folder, fps=10.0, frame_pixels=SIZE, flow=False)
    return time.process_time() - start_sec


def reading_sec(video_file):
    """CPU seconds of reading every frame as --mode=extract does."""
    start_sec = time.process_time()
    for frame in read_frames(video_file):
        cropped(frame, 256, 224)
    return time.process_time() - start_sec


def ffmpeg_sec(ffmpeg, video_file, raw_file):
    """CPU seconds of ffmpeg."""
    filters = f"fps=10,scale={SIZE}:{SIZE}:flags=bicubic"
    read = f"-v error -y -threads 1 -filter_threads 1 -i {video_file}"
    write = f"-vf {filters} -pix_fmt rgb24 -f rawvideo -threads 1 {raw_file}"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([ffmpeg, *read.split(), *write.split()], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    """Prints the table."""
    ffmpeg = find_ffmpeg()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        video_file, raw_file = folder / "video.mp4", folder / "frames.rgb"
        render(video_file)
        ours, theirs, reading = [], [], []
        for _ in range(REPEATS):
            ours.append(ours_sec(video_file, folder / "out"))
            reading.append(reading_sec(video_file))
            if ffmpeg:
                theirs.append(ffmpeg_sec(ffmpeg, video_file, raw_file))
        megabits_per_sec = video_file.stat().st_size * 8e-6 / DURATION_SEC
        kept = len(np.load(folder / "out" / "rgb" / "video.npy"))
        if ffmpeg and abs(raw_file.stat().st_size // (SIZE * SIZE * 3) - kept) > 1:
            sys.exit("The two did not make the same number of frames.")
    num_frames = FPS * DURATION_SEC
    print(f"{num_frames} frames of {WIDTH}x{HEIGHT}, {megabits_per_sec:.1f} Mbit/s, {kept} kept\n")
    print("| path | CPU, s | video frames per second and core |\n|---|---|---|")
    print(f"| tal_jax | {min(ours):.2f} | {num_frames / min(ours):.0f} |")
    print(f"| every frame, for features | {min(reading):.2f} | {num_frames / min(reading):.0f} |")
    if not ffmpeg:
        install = "apt-get install ffmpeg, or pip install imageio-ffmpeg"
        sys.exit(f"\nThere is no ffmpeg to compare with: {install}.")
    print(f"| ffmpeg | {min(theirs):.2f} | {num_frames / min(theirs):.0f} |")
    print(f"\nratio: {min(theirs) / min(ours):.2f}")


if __name__ == "__main__":
    main()
