"""The part of the packaging that pyproject.toml cannot say: configs/ goes into the package.

So --config=sbhar is found anywhere.
"""

from setuptools import find_namespace_packages, setup

setup(
    packages=[*find_namespace_packages(include=["tal_jax*"]), "tal_jax.configs"],
    package_dir={"tal_jax.configs": "configs"},
)
