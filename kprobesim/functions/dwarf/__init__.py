"""Inlined copies of functions, by debug information: read by symbolic, and kept."""
