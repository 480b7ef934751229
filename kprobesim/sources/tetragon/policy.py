"""What a TracingPolicy is told by, without a reader of YAML."""

from __future__ import annotations

import re

__all__ = ["is_tetragon"]

_KIND = re.compile(r"""^\s*(?:-\s+)?["']?kind["']?:\s*["']?TracingPolicy""", re.MULTILINE)


def is_tetragon(text: str) -> bool:
    """Whether there is a TracingPolicy in a text."""
    return _KIND.search(text) is not None
