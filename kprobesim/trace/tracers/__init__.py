"""Tracers: what is recorded beside events, of all functions that ftrace can trace."""
