"""Where tasks end, for whoever follows their calls: those never return then."""

from __future__ import annotations

from kprobesim.image import KernelImage

__all__ = ["task_functions"]


def task_functions(image: KernelImage) -> tuple[int, int] | None:
    """Where tasks end (since 4.9) and are switched, as addresses.

    ``None`` where the image does not name them.
    """

    def address(*names: str) -> int | None:
        found = [symbol for name in names for symbol in image.symbols.candidates(name)]
        return found[0].address if found else None

    if not image.has_symbols:
        return None
    dead = address("do_task_dead")
    switched = address("finish_task_switch", "finish_task_switch.isra.0")
    return None if dead is None or switched is None else (dead, switched)
