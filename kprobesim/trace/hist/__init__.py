"""Histograms of events: hist triggers, read, kept and shown as the kernel does."""
