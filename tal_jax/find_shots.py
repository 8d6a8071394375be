"""--mode=shots: the shots of videos, as JSON, as a table and as an edit decision list (CMX 3600)."""

import csv
import functools
import io
import json
import logging
import pathlib

from tqdm import tqdm

from tal_jax import shots
from tal_jax.data import video
from tal_jax.data.video_jobs import reason_of, run_in_share, videos_of
from tal_jax.errors import DataError, plain
from tal_jax.published.packages import INSTALLED
from tal_jax.runtime import distributed
from tal_jax.runtime.files import replacing, require_apart

log = logging.getLogger(__name__)

SUFFIXES = (".json", ".csv", ".edl")
MOST_EDL_FPS = 60  # a timecode has two digits for the frame


def find_shots(workdir, source, weights=INSTALLED):
    """Writes `<workdir>/shots/NAME.json`, `.csv` and `.edl` for each video.

    Its processes share the videos. A video of a folder that cannot be read costs only itself.

    Args:
      workdir: any folder.
      source: a video or a folder of them.
      weights: see `shots.cuts`.

    Raises:
      DataError: no video, no weights; at the end, if some videos could not be read.
    """
    paths = videos_of(source)
    folder = pathlib.Path(workdir) / "shots"
    require_apart([folder], {"--input": source})
    shots.network(weights)  # raises DataError now, not once a video
    folder.mkdir(parents=True, exist_ok=True)  # raises OSError now, not after the first video
    find = functools.partial(_find, folder=folder, weights=weights)
    reasons = run_in_share(functools.partial(reason_of, find), paths)
    failed = [reason for _, reason in sorted(reasons.items()) if reason]
    if failed and len(reasons) == 1:
        raise DataError(failed[0])
    for reason in failed:
        log.error("%s", reason)
    if failed:
        raise DataError(f"{len(failed)} of {len(reasons)} videos could not be read, see above.")


def _find(path, folder, weights):
    """Writes and prints the shots of one video, whose path is a text or a path."""
    path = pathlib.Path(path)
    name = video.stored_name(path)
    with tqdm(desc=plain(path.name), unit="frame", disable=not distributed.is_first()) as bar:

        def progress(done, total):
            bar.total = total
            bar.update(done - bar.n)

        found = shots.probabilities(path, weights, progress)
    if found.notes:
        log.warning("%s: %s.", path.name, "; ".join(found.notes))
    changes = shots.changes(found)
    made = content(path.name, found, changes)
    texts = json.dumps(made, indent=1), csv_table(made), edl(made)
    for suffix, text in zip(SUFFIXES, texts, strict=True):
        with replacing(folder / f"{name}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    gradual = sum(change.kind == "gradual" for change in changes)
    number = len(made["shots"])
    print(f"{plain(path.name)}: {number} shot{'s' * (number != 1)}, {gradual} of the changes gradual.")
    log.info("Written: %s%s", folder / name, ", ".join(SUFFIXES))


def content(file, found, changes):
    """The content of the JSON file of a video.

    Args:
      file: name of the video.
      found: shots.Probabilities.
      changes: list of shots.Change.

    Returns:
      dict: `file`; `fps`, `frames` and `duration` of the video; `shots`, which follow one another without
      gaps, each with `start` and `end` in seconds and, counted from 0, its `first_frame` and the frame after
      its last, `end_frame`; `cuts`, each with `time`, `frame` (the first of the new shot), `score`, `kind`
      ('cut' or 'gradual') and, of a gradual one, its `start` and `end`.
    """
    num_frames = len(found.times_sec)
    times_sec = [0.0, *(change.time_sec for change in changes), found.duration_sec]
    frames = [0, *(change.frame for change in changes), num_frames]
    parts = zip(times_sec[:-1], times_sec[1:], frames[:-1], frames[1:])
    names = "start", "end", "first_frame", "end_frame"
    listed = []
    for change in changes:
        row = dict(time=_rounded(change.time_sec), frame=change.frame, score=round(change.score, 4))
        row["kind"] = change.kind
        if change.kind == "gradual":
            row |= dict(start=_rounded(change.start_sec), end=_rounded(change.end_sec))
        listed.append(row)
    return {
        "file": file,
        "fps": found.fps,
        "frames": num_frames,
        "duration": _rounded(found.duration_sec),
        "shots": [dict(zip(names, map(_rounded, part))) for part in parts],
        "cuts": listed,
    }


def _rounded(seconds):
    return round(seconds, 6)


def csv_table(made):
    """A line a shot: its number, times, frames, and the kind and score of the change that it begins with."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["shot", "start", "end", "first_frame", "end_frame", "kind", "score"])
    for number, (shot, cut) in enumerate(zip(made["shots"], [{}, *made["cuts"]], strict=True), 1):
        table.writerow([number, *shot.values(), cut.get("kind", ""), cut.get("score", "")])
    return text.getvalue()


def edl(made):
    """An edit decision list as CMX 3600 has it: an event a shot, source and record times alike, cuts alone.

    A timecode is a time multiplied by the rate of the video, so that it counts frames where the rate does not
    vary, written at the next whole rate, 29.97 as 30, without dropping any. Of rates below 10 and above 60 it
    counts at 25. A shot of no length at that rate is left out.
    """
    base = round(made["fps"])
    rate = made["fps"]
    if not 10 <= base <= MOST_EDL_FPS:
        base = rate = 25
    lines = [f"TITLE: {plain(pathlib.Path(made['file']).stem):.70}", "FCM: NON-DROP FRAME", ""]
    spans = [[round(shot[side] * rate) for side in ("start", "end")] for shot in made["shots"]]
    for number, span in enumerate((span for span in spans if span[0] < span[1]), 1):
        codes = " ".join(_timecode(frame, base) for frame in span)
        lines.append(f"{number:03}  AX       V     C        {codes} {codes}")
        lines.append(f"* FROM CLIP NAME: {plain(made['file'])}")
    return "\n".join(lines) + "\n"


def _timecode(frame, fps):
    """HH:MM:SS:FF of a frame at a whole number of frames a second."""
    seconds, frame = divmod(frame, fps)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}:{frame:02}"
