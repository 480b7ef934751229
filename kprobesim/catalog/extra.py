"""What catalogues are read with, which not everybody has installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kprobesim.errors import UsageError

__all__ = ["needed"]


def needed(module: str, extra: str = "catalog") -> Any:
    """The module of that name, imported.

    Raises:
        UsageError: It is not installed, and how it can be.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise UsageError(
            f"this needs {package}, which cannot be imported ({error}): "
            f"pip install 'kprobesim[{extra}]'"
        ) from error
