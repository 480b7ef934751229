"""Synthetic events: defined by users, and recorded by actions of hist triggers."""
