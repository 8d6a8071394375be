"""From your own recordings to detections: a table, a JSON file, a picture and a page for each.

`--export` adds files of other formats.
"""

import dataclasses
import logging
import os
import pathlib

import numpy as np
from tqdm import tqdm

from tal_jax import evaluate, exports, report
from tal_jax.data.annotations import Recording
from tal_jax.data.detections_file import write_detections
from tal_jax.data.loader import chunks
from tal_jax.data.names import require_name
from tal_jax.errors import DataError
from tal_jax.evaluation.plots import draw_timeline
from tal_jax.inputs import input_datasets, known_recordings
from tal_jax.page import content, recordings, signals, write
from tal_jax.runtime import distributed
from tal_jax.runtime.files import replacing, require_apart
from tal_jax.systems import SYSTEMS
from tal_jax.trained_run import TrainedRun

log = logging.getLogger(__name__)


def predict(config, workdir, source, draw="detections", said=(), export=()):
    """Detects in recordings and writes `<workdir>/predictions/<name>.json`, `.png` and `.html`.

    Each of several processes sees every n-th recording; the first process writes.

    Args:
      config: the run's config.
      workdir: folder of the trained run.
      source: a feature or signal file (`feature_files.SUFFIXES`; any length) or, for a network that sees
        frames, a video; a folder of them, or the name of a recording of the config's data set.
      draw: 'cas' also draws the class activation sequences of a weakly supervised system, and writes
        `<name>.cas.npz`: cas (T, K), as the system scales it (see its `decode`), times_sec (T,) the middle of
        each feature, classes (K,) names.
      said: fields that flags name, see `run_config.trained_run`.
      export: names in `exports.FORMATS`: what to write beside `<name>.json`.

    Returns:
      The paths of the pages that this process has written.

    Raises:
      DataError: an unknown format, or nothing to read, or no checkpoint, or no sequences to draw; at the end,
        if some files of a folder could not be used.
    """
    exports.require_known(export)
    folder, failed, pages = pathlib.Path(workdir) / "predictions", [], []
    require_apart([folder], {"--input": source} | evaluate.files_read(config))
    run = TrainedRun(evaluate.find_runs(config, workdir, said), said)
    inputs = run.inputs(source)
    folder.mkdir(parents=True, exist_ok=True)  # raises OSError now, not after the first recording
    data = run.config.data
    media = exports.media_files(source if os.path.exists(source) else data.get("features"), data.file_prefix)
    files, known = _as_in_files(run, source), known_recordings(run.config, run.classes)
    run.prepare()
    hidden = len(inputs) == 1 or not distributed.is_first()
    with tqdm(total=len(inputs), unit="recording", disable=hidden) as progress:
        for turn in chunks(inputs.items(), distributed.count()):
            own = turn[distributed.index()] if distributed.index() < len(turn) else None
            of_all = distributed.gather(own and _find(run, *own, draw, files, known))
            for (name, _), found in zip(turn, of_all):
                if "error" in found and len(inputs) == 1:
                    raise DataError(found["error"])
                if "error" in found:
                    log.error("%s", found["error"])
                    failed.append(name)
                elif distributed.is_first():
                    pages.append(_write(run, folder, name, found, export, media.get(name)))
                progress.update()
    if failed:
        count = f"{len(failed)} of {len(inputs)} recordings"
        raise DataError(f"{count} could not be used, see above: {', '.join(failed)}.")
    return pages


def _find(run, name, make_datasets, draw, files, known):
    """Everything to write of one recording, or {"error": the sentence why there is nothing}.

    A dict that `distributed.gather` takes. known: {name: Recording} of what is annotated; any other recording
    is to be learnt from, once it is corrected.
    """
    try:
        require_name(name, "--input")
        streams = run.streams(make_datasets())
        dataset = streams[0].dataset
        duration_sec = dataset.duration_sec(name)
        subset = known[name].subset if name in known else run.config.data.train_subset
        recording = dataset.annotations.recordings[name]
        recording = dataclasses.replace(recording, duration_sec=duration_sec, subset=subset)
        detections = run.detections(streams, name)
        return {
            "recording": dataclasses.asdict(recording),
            "cas": list(run.detector.activation_sequences(streams[0], name)) if draw == "cas" else None,
            "detections": detections,
            "key_frames": _key_frames(streams, name),  # of a video these are kept while it is read
            "signal": _signal(files, name),
        }
    except DataError as error:
        return {"error": str(error)}


def _as_in_files(run, source):
    """{name: function that makes a Dataset} of the signals that `source` names, as the files have them; {} of
    videos.
    """
    if run.config.data.input != "features":
        return {}
    with recordings.said_before():
        return input_datasets(recordings.as_in_files(run.config), source, run.classes)


def _signal(files, name):
    """The signal of a recording, packed for its page, or None. files: see `_as_in_files`."""
    with recordings.said_before():
        signal = recordings.signal_of(files[name](), name) if name in files else None
    return signal and signals.packed(*signal, most_bytes=content.PREDICTED_BYTES)


def _write(run, folder, name, found, export, media):
    """Writes and prints what `_find` returns; returns the path of the page.

    media: path of the recording's video or sound, or None.
    """
    recording, detections, cas = Recording(**found["recording"]), found["detections"], found["cas"]
    min_score = run.config.predict.min_score
    write_detections(folder / f"{name}.json", {name: detections})
    draw_timeline(
        folder / f"{name}.png",
        name,
        detections,
        truths=recording if len(recording.labels) else None,
        duration_sec=recording.duration_sec,
        classes=run.classes,
        min_score=min_score,
        key_frames=found["key_frames"],
        cas=cas,
    )
    if cas:
        with replacing(folder / f"{name}.cas.npz") as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, times_sec=cas[0], cas=cas[1], classes=np.array(run.classes))
    page, parts = folder / f"{name}.html", dict(cas=cas, signal=found["signal"], media=media)
    parts |= {field: run.config.data[field] for field in ("class_agnostic", "ignored_labels")}
    parts["learns"] = SYSTEMS[run.config.system].learns
    made = content.of_prediction(name, recording, detections, run.classes, min_score, page=page, **parts)
    write.write_page(page, made)
    exports.write(folder, name, detections, export, min_score, recording.duration_sec, media)
    report.print_detections(name, detections, min_score)
    if not (detections or cas or parts["learns"]):
        what = "%s shows none of the %d classes clearly; --draw=cas draws how likely each is over time."
        log.info(what, name, len(run.classes))
    log.info("Written: %s%s", folder / name, ", ".join([".json", ".png", ".html", *exports.suffixes(export)]))
    return page


def _key_frames(streams, name):
    """12 frames (12, H, W, 3) of a video that a detector has seen, None of features. streams: what it saw."""
    data = {stream.config.data.input: stream.dataset for stream in streams}
    if "video" in data:
        return data["video"].read(name).key_frames
    return np.asarray(key_frames(data["rgb"].read(name))) if "rgb" in data else None


def key_frames(frames):
    """12 frames (12, H, W, 3) of a video (T, H, W, 3), from the middles of equal parts."""
    return frames[[int((i + 0.5) * len(frames) / 12) for i in range(12)]]
