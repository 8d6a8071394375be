"""Words beside frames and features made of videos: settings.json of a folder, info/NAME.json of a video."""

import contextlib
import dataclasses
import functools
import json
import pathlib

from tal_jax.data.annotations import Annotations, positive_or_none
from tal_jax.errors import DataError, plain
from tal_jax.runtime.files import replacing
from tal_jax.runtime.json_files import read_json

SETTINGS = "settings.json"


def require_same_settings(folder, settings, what, field, before=None):
    """Writes settings.json into a folder, which keeps files of other settings out of it.

    Args:
        folder: the folder.
        settings: dict of JSON values.
        what: "frames" or "features", for the message.
        field: the field or flag that chooses another folder.
        before: settings that an older settings.json lacks; dict.

    Raises:
        DataError: there is one of other settings, or a damaged one; or there are files but no settings.json.
    """
    found, folder = read_settings(folder), pathlib.Path(folder)
    files = sorted(file for part in (".", "rgb", "flow") for file in folder.glob(f"{part}/[!.]*.npy"))
    if files and not found:
        unknown = f"{what} such as {files[0].name} but no {SETTINGS}, so how they were made is not known"
        raise DataError(f"{folder} holds {unknown}; choose another {field}.")
    if found and (before or {}) | found != settings:
        other = f"{what} of other settings, {found} instead of {settings}"
        raise DataError(f"{folder} holds {other}; choose another {field}.")
    if not found:
        with replacing(folder / SETTINGS) as temporary:
            temporary.write_text(json.dumps(settings))


def read_settings(folder):
    """The dict in the settings.json of a folder, empty if there is none.

    Raises DataError for a damaged one.
    """
    file, found = pathlib.Path(folder) / SETTINGS, None
    if not file.is_file():
        return {}
    with contextlib.suppress(DataError):
        found = read_json(file, "settings file")
    if found and isinstance(found, dict):
        return found
    unknown = f"{file} is damaged, so how the files beside it were made is not known"
    raise DataError(f"{unknown}; delete it if they may stay, or else its folder.")


def read_notes(path):
    """Whatever was uncommon about a video, as a phrase; "" if nothing was. path: its info file."""
    try:
        return plain("; ".join(read_json(path, "info file").get("notes", ())))
    except (OSError, ValueError, AttributeError, TypeError):
        return ""


def still_to_make(paths, files_of):
    """The videos of which something is still to be made.

    Args:
        paths: of videos.
        files_of: path -> the files that are made of it. Where it raises DataError the video is returned too:
            why it cannot be made is said then.

    Returns:
        list of paths.
    """

    def is_made(path):
        try:
            return all(file.exists() for file in files_of(path))
        except DataError:
            return False

    return [path for path in paths if not is_made(path)]


def notes_of_made(reasons, info_of):
    """{name of a video's file: its notes, see `read_notes`}; videos without notes are left out.

    Args:
        reasons: {path of a video: why nothing was made of it, or ""}.
        info_of: path -> the info file of the video.
    """
    made = [path for path, reason in sorted(reasons.items()) if not reason]
    notes = {pathlib.Path(path).name: read_notes(info_of(path)) for path in made}
    return {name: found for name, found in notes.items() if found}


def as_stored(recording, path):
    """A Recording with the rate of its stored frames and, where none is annotated, the length of its video.

    path: the video's info file. Raises DataError for one that cannot be read.
    """
    try:
        info = read_json(path, "info file")
        fps, duration_sec = (positive_or_none(info, field, path) for field in ("fps", "duration_sec"))
        if fps is None:
            raise ValueError
        return dataclasses.replace(recording, fps=fps, duration_sec=recording.duration_sec or duration_sec)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        again = "delete what was made of this video and run the same command again"
        raise DataError(f"{path} is missing or damaged; {again}.") from error


def as_extracted(annotations, paths, data, trained_on=""):
    """Annotations and `config.data` of feature files, as the files of `--mode=extract` beside them say.

    `stride_frames` and `snippet_frames` are those of settings.json, rates and missing durations those of
    info/NAME.json. Nothing changes where neither is there. Where `stride_frames` is 0, features are spread
    over the recording, and missing durations alone are taken.

    Args:
        annotations: Annotations.
        paths: recording name -> feature file, or None.
        data: the fields of `config.data`; stays as it is.
        trained_on: folder of the features that a network has learnt from: features elsewhere must be made
            like them, and those without settings count as made like them.

    Returns:
        (Annotations, fields of `config.data`).

    Raises:
        DataError: `data` says other numbers than its 1 and 1, and others than the settings; or a file is
            damaged.
    """
    recordings, timing = dict(annotations.recordings), functools.cache(_timing)
    wanted = timing(trained_on) if trained_on else None
    for name, path in paths.items():
        found = path and timing(path.parent)
        if not found:
            continue
        wanted = wanted or found
        if found != wanted:
            other = f"are {_said(found)}, but those they go with are {_said(wanted)}"
            raise DataError(f"The features in {path.parent} {other}; extract all alike.")
        info = path.parent / "info" / f"{path.stem}.json"
        if info.is_file():
            stored = as_stored(recordings[name], info)
            fps = stored.fps if data.stride_frames else recordings[name].fps
            recordings[name] = dataclasses.replace(stored, fps=fps)
    asked = data.stride_frames, data.snippet_frames
    if wanted and data.stride_frames and asked != wanted:
        if asked != (1, 1):
            raise DataError(
                f"The features are {_said(wanted)}, as their {SETTINGS} says; config.data.stride_frames is "
                f"{asked[0]} and config.data.snippet_frames is {asked[1]}: leave them out."
            )
        data = data.copy_and_resolve_references()
        data.stride_frames, data.snippet_frames = wanted
    return Annotations(annotations.classes, recordings), data


def _timing(folder):
    """(stride_frames, snippet_frames) in the settings.json of a folder; None if it does not say."""
    settings = read_settings(folder)
    found = settings.get("stride_frames"), settings.get("snippet_frames")
    return found if all(isinstance(number, int) and number > 0 for number in found) else None


def _said(timing):
    """(stride_frames, snippet_frames) in words."""
    return f"{timing[0]} frames apart and of {timing[1]} frames each"
