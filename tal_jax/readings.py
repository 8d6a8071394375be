"""Open points: where a paper is silent, or differs from its published code, and more than one reading is
built.

Each system lists its points in READINGS of its config.py: the name of a point, and its values, the default
first. A config says only what it reads otherwise: `--config.readings=loc_score=quality,decode.refined=False`.
A point that begins with "decode." matters at test alone; the others are those of training, whatever a later
command says.
"""

import itertools

from tal_jax.errors import DataError


def reading(config, name, points):
    """The value of an open point: what `config.readings` says, or else the default.

    Args:
      config: any config.
      name: of an open point.
      points: {name: its values, the default first}.

    Raises:
      DataError: `config.readings` says a value that the point does not have.
    """
    said = [entry.partition("=")[2] for entry in config.readings if entry.partition("=")[0] == name]
    values = {str(value): value for value in points[name]}
    if said and said[-1] not in values:
        known = " or ".join(f"{name}={value}" for value in values)
        raise DataError(f"config.readings has '{name}={said[-1]:.60}'; it may have {known}.")
    return values[said[-1]] if said else points[name][0]


def require_readings(config, points):
    """Raises DataError for the first entry of `config.readings` that is none of the points, twice, or no
    value of it.

    Args: as for `reading`.
    """
    names = [entry.partition("=")[0] for entry in config.readings]
    for name in names:
        if name not in points:
            known = ", ".join(sorted(points)) or "none"
            raise DataError(
                f"config.readings has '{name:.60}'; the open points of {config.system} are {known}."
            )
        if names.count(name) > 1:
            raise DataError(f"config.readings says '{name:.60}' twice; say it once.")
        reading(config, name, points)


def subsets(names):
    """The values of a point that chooses some of several names: "a+b", "a", "b", "" for ("a", "b")."""
    sizes = range(len(names), -1, -1)
    return tuple("+".join(chosen) for size in sizes for chosen in itertools.combinations(names, size))
