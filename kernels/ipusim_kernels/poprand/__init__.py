"""Random numbers for tile programs, named as poplibs' poprand."""

from __future__ import annotations

from ipusim_kernels.poprand.calls import bernoulli, dropout, normal, truncated_normal, uniform
from ipusim_kernels.poprand.generator import Generator

__all__ = ["Generator", "bernoulli", "dropout", "normal", "truncated_normal", "uniform"]
