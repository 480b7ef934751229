"""How far something is, in a notebook: a line that changes, and in the end is gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["told_in_notebook"]

_PATIENCE = 1.0  # seconds that something may take before anything is said of it
_EVERY = 0.25  # seconds between two words


@contextmanager
def told_in_notebook(
    progress: Callable[[str], None] | None,
) -> Iterator[Callable[[str], None] | None]:
    """Give what is to hear how far it is: ``progress``, or without one in a notebook a line there.

    Args:
        progress: What the caller of a verb has given.
    """
    if progress is not None or not _is_notebook():
        yield progress
        return
    display: Any = import_module("IPython.display").display
    line: Any = None
    told = time.monotonic() + _PATIENCE - _EVERY

    def tell(text: str) -> None:
        nonlocal line, told
        if time.monotonic() - told < _EVERY:
            return
        told, shown = time.monotonic(), {"text/plain": text}
        if line is None:
            line = display(shown, raw=True, display_id=True)
        else:
            line.update(shown, raw=True)

    try:
        yield tell
    finally:
        if line is not None:
            line.update({"text/plain": ""}, raw=True)


def _is_notebook() -> bool:
    """Whether a cell runs this. Nobody has one who has not imported IPython."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return hasattr(shell, "kernel")
