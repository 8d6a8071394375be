"""Weights that others publish: their files and names become Flax trees, and nothing in a file is run."""
