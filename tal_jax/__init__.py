"""tal_jax: temporal action localization in JAX. What happens in a long recording, from when to when."""

__version__ = "0.1.0"


def load_run(folder):
    """A trained run, ready to detect actions in new recordings.

        run = tal_jax.load_run("runs/demo")
        run.classes            # names in index order
        run.detect(array)      # or a path; a list of {"label", "segment": [start_sec, end_sec], "score"}

    Args:
      folder: of the run, as `--workdir` names it. Its config.json says all; relative paths in it count from
        the current folder.

    Returns:
      `tal_jax.trained_run.TrainedRun`, with `classes`, `config` and `detect(array_or_path, fps=,
      duration_sec=)`.

    Raises:
      tal_jax.errors.DataError: one sentence, if the folder holds no trained run, or a damaged one.
    """
    from tal_jax.trained_run import TrainedRun  # JAX and all it takes are imported when they are needed

    return TrainedRun.load(folder)
