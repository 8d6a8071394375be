"""Videos that are only looked at: nothing is annotated, nothing is trained on them, nothing is scored."""

from tal_jax.errors import DataError


def load(config):
    """Raises the DataError of videos without annotations."""
    raise DataError(
        f"The data set '{config.data.name}' of the config {config.name} has no annotations to train on or to "
        "score; videos are only looked at, with --mode=predict --input=FILE."
    )
