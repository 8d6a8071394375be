"""Checkpoints, many devices and processes, files, Apache Beam: for any JAX project."""
