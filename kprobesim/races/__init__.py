"""Races: calls on several CPUs, each of their interleavings a schedule that can be run again."""
