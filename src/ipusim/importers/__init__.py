"""Foreign models as workloads."""
