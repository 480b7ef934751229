"""Modules: found, read, laid out and linked."""
