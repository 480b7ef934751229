"""Calls on several CPUs, run slice by slice, and what stands in for parts of a called kernel."""
