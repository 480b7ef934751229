"""``needed``: libraries that not everybody has installed, each in an extra of ours."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kprobesim.errors import UsageError

__all__ = ["needed"]


def needed(module: str, extra: str) -> Any:
    """The module of that name, imported.

    Args:
        module: Such as ``"pyarrow.parquet"``.
        extra: The extra that brings it.

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
