"""A workload as one compiled function."""
