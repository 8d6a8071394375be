"""Scores, files and pictures of detections."""
