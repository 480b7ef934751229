"""Data races: accesses of two CPUs to one place that nothing orders."""
