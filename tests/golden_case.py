"""Loads the golden cases: what the published implementations answered to inputs that `golden/recipe.py`
regenerates.
"""

import dataclasses
import gzip
import json
import pathlib

import numpy as np

from tests.golden import recipe

GOLDEN = pathlib.Path(__file__).parent / "golden"

_TRANSFORMS = {
    "0.3*x": lambda x: 0.3 * x,
    "1.5*x": lambda x: 1.5 * x,
    "2*x": lambda x: 2 * x,
    "exp(0.8*x + 3.0)": lambda x: np.exp(0.8 * x + 3.0),
    "exp(0.8*x + 4.0)": lambda x: np.exp(0.8 * x + 4.0),
    "max(0.05*x, 0)": lambda x: np.maximum(0.05 * x, 0),
    "max(1.0*x, 0)": lambda x: np.maximum(x, 0),
    "max(x, 0)": lambda x: np.maximum(x, 0),
    "truncate to uint8": lambda x: x.astype(np.uint8),
    "x * 0.001": lambda x: x * 0.001,
}


@dataclasses.dataclass(frozen=True)
class GoldenCase:
    """One case: `info` is its case.json; arrays are in the reference's layout (batch, channel, time, ...)."""

    info: dict
    arrays: dict
    folder: pathlib.Path

    @classmethod
    def load(cls, name):
        """`name` is SYSTEM/CASE, for example "afsd/losses"."""
        folder = GOLDEN / name
        info = json.loads((folder / "case.json").read_text())
        path = folder / "arrays.npz"
        with np.load(path) as arrays:
            return cls(info, dict(arrays), folder)

    def input(self, name):
        """The input called `name`, from its recipe or from arrays.npz."""
        (entry,) = [entry for entry in self.info["inputs"] if entry["name"] == name]
        if "recipe" not in entry:
            return self.arrays[entry["npz"]]
        asked = entry["recipe"]
        value = recipe.array(asked["name"], entry["shape"], asked["seed"], asked["low"], asked["high"])
        if "transform" in entry:
            value = _TRANSFORMS[entry["transform"]](value)
        return value.astype(entry["dtype"])

    def parameters(self):
        """Every parameter of the case by its reference (state_dict) name, overrides applied."""
        values = {
            p["name"]: recipe.param(p["name"], p["shape"], self.info["seed"]) for p in self.info["parameters"]
        }
        for name, value in self.info["param_overrides"].items():
            values[name] = np.asarray(value, np.float32)
        return values

    def json_file(self, name):
        """The gzipped JSON file `name` that the reference wrote."""
        return json.loads(gzip.decompress((self.folder / name).read_bytes()))
