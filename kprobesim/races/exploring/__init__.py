"""Schedules that are tried one after the other, each from the same state."""
