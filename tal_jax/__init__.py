"""tal_jax: temporal action localization in JAX. What happens in a long recording, from when to when."""

__version__ = "0.1.0"
