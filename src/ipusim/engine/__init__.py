"""Runs a tile program: cycles of every superstep on every tile, and, when asked, the values."""
