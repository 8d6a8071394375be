"""--mode=report: the page of a run, of anyone's detections, or of several runs side by side."""

import pathlib

from tal_jax import evaluate
from tal_jax.data import dataset_annotations
from tal_jax.data.detections_file import read_detections_of
from tal_jax.diagnosis_file import named_detections, require_evaluated
from tal_jax.errors import DataError
from tal_jax.page import run_facts, run_page, write
from tal_jax.planned_run import scored_config
from tal_jax.run_config import RECORDING_FIELDS, stored_config
from tal_jax.runtime.files import require_apart
from tal_jax.systems import require_valid


def report(config, workdir, detections_path="", runs=(), media="", said=()):
    """Writes `<workdir>/report.html`, and diagnosis.json beside it. Returns the path of the page.

    A run that has detected nothing yet gets a page of its training.

    Args:
      config: the run's config; of another one, what says which recordings are scored.
      workdir: of the run, whose detections.json is shown.
      detections_path: anyone's detections instead.
      runs: folders of runs, or files of detections, two or more to compare instead.
      media: folder of videos and sounds that belong to the recordings.
      said: fields that flags name, see `run_config.trained_run`.

    Raises:
      DataError: there are no detections, or nothing to score them against, or the runs do not compare.
    """
    require_valid(config, training=False)
    workdir = pathlib.Path(workdir)
    require_media(media)
    if runs:
        return _compare(config, workdir, detections_path, runs, media, said)
    config, path = named_detections(config, workdir, detections_path, said, "page")
    if not path.exists() and not detections_path and (workdir / "metrics.jsonl").exists():
        return write.write_page(run_page.path_of(workdir), content_as_it_stands(config, workdir))
    require_evaluated(workdir, detections_path, path)
    evaluate.require_inputs_stay(config, workdir, detections_path)
    annotations = evaluate.scored_annotations(config)
    results = read_detections_of(path, annotations)
    scores = evaluate.scores_of(config, annotations, results)
    which = evaluate.scored_settings(config, annotations)
    return run_page.write_report(config, workdir, annotations, results, which, scores, media)


def require_media(folder):
    """Raises DataError for a folder of videos, "" for none, that is not there."""
    if folder and not pathlib.Path(folder).is_dir():
        raise DataError(f"--input={folder} is no folder; name the folder of the videos of the recordings.")


def content_as_it_stands(config, workdir, media=""):
    """The content of the page of a run, also of one that is still training. It writes nothing.

    `write.page_text` makes the HTML of it, which a server can give.

    Args:
      config: of the run, see `run_config.trained_run`.
      workdir, media: see `report`.
    """
    annotations, path = evaluate.scored_annotations(config), pathlib.Path(workdir) / "detections.json"
    which = evaluate.scored_settings(config, annotations)
    if not path.exists():
        notes = ["Nothing is detected yet: the page has no recordings until the run is evaluated."]
        if not (pathlib.Path(workdir) / "metrics.jsonl").exists():
            notes = ["No step yet.", *notes]
        return run_page.run_content(config, workdir, annotations, {}, which, notes=notes)
    results = read_detections_of(path, annotations)
    scores = evaluate.scores_of(config, annotations, results)
    return run_page.run_content(
        config, workdir, annotations, {"": results}, which, scores=scores, media=media
    )


def _compare(config, workdir, detections_path, runs, media, said):
    """`report` of several runs."""
    if detections_path:
        raise DataError("--runs and --detections both say what to show; leave one out.")
    if not all(runs):
        raise DataError(f"--runs={','.join(runs)} has an empty name; take a comma out.")
    if len(runs) < 2:
        what_to_do = "name two or more, or show one with --workdir"
        raise DataError(f"--runs names one run, {runs[0]}; {what_to_do}.")
    paths = {name: _detections_of(run) for name, run in zip(_names(runs), runs, strict=True)}
    for path in paths.values():
        if workdir.resolve() == path.parent.resolve():
            lost = "holds one of the runs, whose own page would be lost"
            raise DataError(f"{workdir} {lost}; choose another --workdir.")
    of_runs = [run for run in runs if (pathlib.Path(run) / "config.json").exists()]
    stored = {run: _stored(run, config) for run in of_runs}
    config = _scored_as(config, stored, said)
    page = run_page.path_of(workdir)
    require_apart([page], {f"--runs, {name}": str(path) for name, path in paths.items()})
    require_apart([page], evaluate.files_read(config))
    annotations = evaluate.scored_annotations(config)
    which = evaluate.scored_settings(config, annotations)
    for run, other in stored.items():
        _require_same(run, other, annotations, which)
    results = {name: read_detections_of(path, annotations) for name, path in paths.items()}
    name, first = next(iter(results.items()))
    scores = evaluate.scores_of(config, annotations, first)
    made = run_page.run_content(config, workdir, annotations, results, which, scores=scores, media=media)
    made["title"] = " · ".join(results)
    configs = {name: stored[run] for name, run in zip(paths, runs, strict=True) if run in stored}
    if made["comparison"] and len(configs) > 1:
        made["comparison"]["fields"] = {"runs": [*configs], "rows": run_facts.differing(configs.values())}
    whose = f"The figures above, the scores and the errors are those of {name}; the recordings show all runs."
    made["summary"].insert(0, {"text": whose})
    return write.write_page(page, made)


def _stored(run, config):
    """The config by which a run is scored. Annotations that are gone are taken for those of `config`."""
    own = stored_config(run)
    try:
        return scored_config(own)
    except DataError:
        own.data.annotations = config.data.annotations
        return scored_config(own)


def _detections_of(run):
    """The file of detections that an entry of --runs names. Raises DataError where there is none."""
    path = pathlib.Path(run)
    if path.is_dir():
        path = path / "detections.json"
        if not path.exists():
            raise DataError(f"--runs: {run} holds no detections.json; run --mode=evaluate there first.")
    elif not path.exists():
        raise DataError(
            f"--runs: {run} is neither the folder of a run nor a file of detections; correct the name."
        )
    return path


def _names(runs):
    """A name for each run: that of its folder or file, with the folders above it where two are equal."""
    paths = [pathlib.Path(run).resolve() for run in runs]
    if len({*paths}) < len(paths):
        raise DataError(f"--runs names a run twice: {', '.join(map(str, runs))}; name each once.")
    count, names = 1, [path.stem if path.is_file() else path.name for path in paths]
    while len({*names}) < len(names):
        count += 1
        names = ["/".join(path.parts[-count:]) for path in paths]
    return names


def _scored_as(config, stored, said):
    """The config to compare runs with: it has the recordings of the first run that has a config, but for
    what flags name; and a recording that a run lacks is missed, so that all are scored on the same ones.
    """
    config = config.copy_and_resolve_references()
    config.evaluate.missing = "missed"
    if stored:
        other = next(iter(stored.values())).data
        fields = [field.removeprefix("data.") for field in RECORDING_FIELDS if field not in said]
        with config.data.unlocked():
            config.data.update(
                {field: other[field] for field in (*fields, "class_agnostic") if field in other}
            )
    return config


def _require_same(run, stored, annotations, which):
    """Raises DataError for a run that was made on other recordings, actions or classes than are compared.

    Annotations that are gone, see `_stored`, or cannot be read are taken for the same.
    """
    try:
        own = dataset_annotations(stored)
        own = own.class_agnostic() if stored.data.class_agnostic else own
    except DataError:
        return
    problem = ""
    subset = {name: one for name, one in own.recordings.items() if one.subset == which["subset"]}
    wanted = annotations.subset(which["subset"]).recordings
    if {*own.classes} != {*annotations.classes}:
        lacks = sorted({*own.classes} ^ {*annotations.classes})
        problem = f"other classes: '{lacks[0]}' is not in both"
    elif subset.keys() != wanted.keys():
        lacks = sorted(subset.keys() ^ wanted.keys())
        problem = f"other recordings: '{lacks[0]}' is not in both"
    else:
        for name, one in wanted.items():
            if _actions(one, annotations.classes) != _actions(subset[name], own.classes):
                problem = f"other annotations of the recording '{name}'"
                break
    if problem:
        raise DataError(f"--runs: {run} was made on {problem}; compare runs on the same annotations.")


def _actions(recording, classes):
    """The actions of a Recording, by the names of their classes, and its ignored intervals, as texts."""
    labels = [classes[label] for label in recording.labels]
    # As texts, so that times that are not known (NaN) are the same.
    actions = sorted(str(row) for row in zip(labels, recording.segments_sec.tolist(), strict=True))
    return actions, sorted(recording.ignored_sec.tolist())
