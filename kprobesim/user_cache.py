"""The folder for what was made once and may be made again: unpacked images, unpacked memory.

The environment variable KPROBESIM_CACHE names another directory, or is ``off``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["ABANDONED", "MOST", "cache_directory"]

MOST = 2 << 30
"""How many bytes of one kind may lie there."""

ABANDONED = 3600.0
"""What is being written for so many seconds was given up."""

_OFF = ("", "0", "off", "no", "none")


def cache_directory() -> Path | None:
    """Where it is kept; ``None``: nothing is."""
    chosen = os.environ.get("KPROBESIM_CACHE")
    if chosen is None:
        return _users_own() / "kprobesim" / "images"
    return None if chosen.strip().lower() in _OFF else Path(chosen).expanduser()


def _users_own() -> Path:
    if sys.platform == "linux":  # as platformdirs says, which takes 10 ms to import
        chosen = os.environ.get("XDG_CACHE_HOME", "").strip()
        return Path(chosen or "~/.cache").expanduser()
    from platformdirs import user_cache_path  # knows each system's custom

    return user_cache_path()
