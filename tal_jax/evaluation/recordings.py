"""Chooses the recordings of a subset that are scored."""

from tal_jax.errors import DataError

MISSING = ("missed", "left out")


def scored_recordings(annotations, found, *, subset, left_out=(), missing="missed"):
    """Chooses the recordings of a subset that are scored, and finds those that were not searched for actions.

    Args:
        annotations: `tal_jax.data.annotations.Annotations`.
        found: dict whose keys are the recordings that were searched for actions; a value may be empty.
        subset: the recordings to score, for example "test".
        left_out: recordings of the subset that are not scored.
        missing: how recordings of the subset count for which `found` has no key: "missed", none of their
            actions is found, as by the official evaluators; or "left out".

    Returns:
        (recordings, absent): {name: Recording} of the scored ones in file order, and the sorted names of the
        missing ones. The missing ones are among `recordings` if they are "missed".

    Raises:
        DataError: the subset has no recordings, `left_out` names one that it lacks, or all are left out.
        ValueError: `missing` is none of its values.
    """
    if missing not in MISSING:
        raise ValueError(f"missing is '{missing}'; it must be one of {', '.join(MISSING)}.")
    of_subset = annotations.subset(subset).recordings
    for name in left_out:
        if name not in of_subset:
            problem = f"left_out names '{name}', which is not a recording of subset '{subset}'"
            raise DataError(f"{problem}; correct the name.")
    asked = {name: recording for name, recording in of_subset.items() if name not in left_out}
    if not asked:
        raise DataError(f"left_out names all {len(of_subset)} recordings of subset '{subset}'; name fewer.")
    absent = sorted(asked.keys() - found.keys())
    if missing == "missed":
        return asked, absent
    if len(absent) == len(asked):
        problem = f"All {len(asked)} recordings of subset '{subset}' are missing, the first is '{absent[0]}'"
        what_to_do = "correct the names, or count them as missed"
        raise DataError(f"{problem}, and missing ones are left out; {what_to_do}.")
    return {name: asked[name] for name in asked if name in found}, absent


def require_actions(truths, subset):
    """Raises DataError if the `truths` of the scored recordings of a subset are empty."""
    if not len(truths):
        problem = f"Subset '{subset}' of the annotations has no ground truth to score against"
        raise DataError(f"{problem}; choose another subset.")
