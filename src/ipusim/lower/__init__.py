"""Workload -> program: which vertices compute an op, on which tiles, and where its result lives."""
