"""Real Linux kernels inside a Python process, with real kprobes on them."""

from __future__ import annotations
