"""Picking slices by index."""
