"""The videos of a folder and a job for each of them, for `tal_jax.prepare`, `extract` and `find_shots`.

What is made already stays, so a run that was killed goes on where it was. A video that cannot be used costs
only itself.
"""

import functools
import logging
import pathlib

from tqdm import tqdm

from tal_jax.data.made_of_videos import notes_of_made, still_to_make
from tal_jax.data.names import VIDEO_SUFFIXES
from tal_jax.data.video import stored_name
from tal_jax.errors import DataError, plain
from tal_jax.runtime import distributed
from tal_jax.runtime.beam import reason_of_failure
from tal_jax.runtime.files import list_files

log = logging.getLogger(__name__)


def videos_of(source):
    """The paths that --input means: a video, or the sorted videos of a folder. Says what is left out.

    Raises:
        DataError: it is neither; see `find_videos`.
    """
    path = pathlib.Path(source)
    if not source or not (path.is_dir() or path.is_file()):
        raise DataError(f"--input={source} is neither a video nor a folder of videos.")
    paths, left_out = ([path], []) if path.is_file() else find_videos(path)
    for sentence in left_out:
        log.warning("%s", sentence)
    return paths


def find_videos(folder):
    """The video files of a folder, as sorted paths, and a sentence for each kind of file that is left out.

    Raises:
        DataError: the folder does not exist or holds no video, or two videos have one stem.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise DataError(f"The folder of videos {folder} does not exist.")
    paths, links = list_files(folder, VIDEO_SUFFIXES)
    if not paths:
        raise DataError(f"The folder {folder} holds no video ({', '.join(VIDEO_SUFFIXES)}). {links}".strip())
    by_stem = {path.stem: path for path in paths}
    for path in paths:
        twin = by_stem[path.stem]
        if twin != path:
            raise DataError(
                f"The folder {folder} holds {path.name} and {twin.name}, two videos of one name; keep one."
            )
    files = {path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
    others = [path.name for path in sorted(files - set(paths))]
    said = f"{len(others)} file(s) are no videos and are left out: {first_few(others)}." if others else ""
    return paths, [sentence for sentence in (links, said) if sentence]


def first_few(names, most=10):
    """The first `most` of many names, for a sentence."""
    return plain(", ".join(names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def for_every_video(paths, make, files_of, folder, run, say=functools.partial(print, flush=True)):
    """Makes the files of all videos that lack one.

    Args:
        paths: of the videos.
        make: picklable function of a path, which writes the files of that video into `folder`.
        files_of: path -> the files that `make` writes for it. It may raise DataError, as `make` then does.
        folder: holds info/NAME.json of each video that is made.
        run: (job, paths) -> {str(path): job(path)}, in this process or in several.
        say: function of a sentence, which tells how many videos are to do.

    Returns:
        (failed, notes): {path: why the video could not be used}, by path; {file name: what was uncommon about
        the video}, without those of which nothing was.
    """
    waiting = still_to_make(paths, files_of)
    say(f"{len(paths) - len(waiting)} of {len(paths)} videos are there already; {len(waiting)} to do.")
    reasons = run(functools.partial(reason_of, make), waiting)
    failed = {path: reason for path, reason in sorted(reasons.items()) if reason}
    return failed, notes_of_made(reasons, lambda path: folder / "info" / f"{stored_name(path)}.json")


def run_in_share(job, paths):
    """{str(path): job(path)}. Several processes share the paths that the first one has."""
    paths = distributed.gather([str(path) for path in paths])[0]
    own = paths[distributed.index() :: distributed.count()]
    progress = tqdm(own, unit="video", disable=not distributed.is_first() or len(own) < 2)
    parts = distributed.gather({path: job(path) for path in progress})
    return {path: reason for part in parts for path, reason in part.items()}


def reason_of(make, path):
    """Why `make` failed on a video; "" if it did not."""
    return reason_of_failure(path, functools.partial(make, path))
