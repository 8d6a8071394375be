"""Videos that are only looked at: nothing is annotated, nothing is trained on them, nothing is scored."""

from tal_jax.errors import DataError


def load(config, *_):
    """Raises the DataError of a config that only predicts."""
    raise DataError(
        f"The config {config.name} only predicts: its network has published weights, and it has no data set. "
        "Use --mode=predict --input=FILE; docs/kinetics.md has the way to a detector of your own classes."
    )
