"""Triggers of events: what a hit does beside being recorded."""
