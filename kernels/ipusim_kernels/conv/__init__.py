"""Convolution and matmul: how they are planned, placed, timed and computed."""
