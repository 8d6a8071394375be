"""A job for every file of a list as an Apache Beam pipeline, on this machine or on the machines of any
runner.

A runner repeats what failed, so a job may be done twice and must leave a finished result as it is. The
workers must see the same file system and have tal_jax; a job, pickled, goes to each of them (docs/scale.md).
"""

import contextlib
import io
import json
import pathlib
import shlex
import shutil

from tal_jax.errors import DataError

# Beam's own default, DirectRunner, would first download another one from GitHub.
LOCAL_RUNNER = "FnApiRunner"


def reason_of_failure(path, work):
    """Why work() on the video `path` failed, "" if it did not. OSError is raised: a full disk is not the
    video's fault.
    """
    try:
        work()
    except OSError:
        raise
    except DataError as error:
        return str(error)
    except Exception as error:  # whatever a library makes of a damaged file costs this video alone
        return f"The video {path} cannot be used: {type(error).__name__}: {error}"
    return ""


def run_in_beam(job, paths, folder, options=""):
    """Runs job(path) for each path.

    Args:
      job: picklable function of a path (str), made absolute, to text: "" where all is well, else why it is
        not.
      paths: files; workers see them under the same absolute paths.
      folder: for what passes through the pipeline; workers see it too, and it is removed at the end.
      options: of the pipeline, as on a command line; without --runner it runs on this machine.

    Returns:
      dict str(path) -> job(path).

    Raises:
      DataError: Beam is not installed, an option cannot be, or the pipeline failed.
    """
    try:
        import apache_beam as beam
    except ImportError as error:
        raise DataError("Apache Beam is not installed: pip install -r requirements-prep.txt.") from error
    folder = pathlib.Path(folder).absolute()
    absolute = {str(pathlib.Path(path).absolute()): str(path) for path in paths}
    pipeline = _pipeline(beam, options)
    (
        pipeline
        | beam.Create(list(absolute))
        | beam.Reshuffle()  # spreads the files over the workers
        | beam.Map(lambda path: json.dumps([path, job(path)]))
        | beam.io.WriteToText(str(folder / "reasons"), shard_name_template="")
    )
    try:
        pipeline.run().wait_until_finish()
        reasons = dict(json.loads(line) for line in (folder / "reasons").read_text().splitlines())
    except Exception as error:  # whatever the runner makes of it, at times with the traceback of a worker
        *_, reason = type(error).__name__, *filter(None, map(str.strip, str(error).splitlines()))
        raise DataError(f"The Beam pipeline with the options '{options}' failed: {reason}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {absolute[path]: reason for path, reason in reasons.items()}


def _pipeline(beam, options):
    """An empty pipeline. Raises DataError for options that Beam does not take, or that nobody would read."""
    said = io.StringIO()
    try:
        words = shlex.split(options)
        settings = beam.options.pipeline_options.PipelineOptions([f"--runner={LOCAL_RUNNER}", *words])
        with contextlib.redirect_stderr(said):  # argparse says what is wrong there
            given = settings.get_all_options(retain_unknown_options=True)
            unknown = sorted(given.keys() - settings.get_all_options().keys())
        for last, word in zip(["", *words], words):
            # a word without "-" is the value of an option before it that has none
            if not word.startswith("-") and ("=" in last or not last.startswith("-")):
                raise ValueError(f"'{word}' is no option.")
        # the servers of other runners have options of their own
        if unknown and given["runner"] == LOCAL_RUNNER:
            raise ValueError(f"there is no option {', '.join(f'--{name}' for name in unknown)}.")
        return beam.Pipeline(options=settings)
    except SystemExit as error:
        cause, reason = error, said.getvalue().strip().rpartition(" error: ")[2] + "."
    except Exception as error:
        cause, reason = error, " ".join(str(error).split())
    raise DataError(f"The Beam options '{options}' cannot be: {reason}") from cause
