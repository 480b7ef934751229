"""Tetragon's TracingPolicies."""
