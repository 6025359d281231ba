"""Reductions: sums of a convolution's partials, and reductions over axes."""
