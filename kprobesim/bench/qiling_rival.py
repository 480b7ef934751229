"""Qiling's ``hook_address``, where Qiling is installed: the same loop as its shellcode."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from kprobesim.bench.contest import check, seconds
from kprobesim.errors import EngineError
from kprobesim.kernel.called import CalledKernel

__all__ = ["QilingLoop"]


class QilingLoop:
    """The machine code of ``function`` in ``kernel`` as a Qiling shellcode, probed at ``offset``.

    ``timed(n, handler)`` runs it for ``n`` turns with ``handler(ql)`` at the probe (``None``: no
    probe) and returns seconds. Raises :class:`EngineError` if Qiling is not installed.
    """

    def __init__(self, kernel: CalledKernel, function: str, offset: int) -> None:
        for name in ("qiling", "keystone"):  # Qiling needs keystone and does not always bring it
            if find_spec(name) is None:
                raise EngineError(f"{name} is not installed: pip install qiling keystone-engine")
        from qiling import Qiling
        from qiling.const import QL_ARCH, QL_OS, QL_VERBOSE

        symbol = kernel.symbols[function]
        self._x86 = kernel.arch == "x86_64"
        code = kernel.read(symbol.address, symbol.size)
        # The function ends the shellcode: it returns to where the run stops.
        self._ql: Any = Qiling(
            code=code,
            archtype=QL_ARCH.X8664 if self._x86 else QL_ARCH.ARM64,
            ostype=QL_OS.LINUX,
            verbose=QL_VERBOSE.OFF,
        )
        self._start = int(self._ql.os.entry_point)
        self._probed = self._start + offset
        self._end = self._start + len(code)

    def timed(self, turns: int, handler: Callable[[Any], None] | None) -> float:
        """One call of the function, in seconds."""
        ql = self._ql
        hook = ql.hook_address(handler, self._probed) if handler else None
        ql.uc.ctl_flush_tb()
        sp = ql.arch.regs.arch_sp
        if self._x86:
            ql.arch.regs.rdi = turns
            ql.arch.stack_push(self._end)
        else:
            ql.arch.regs.x0 = turns
            ql.arch.regs.x30 = self._end
        try:
            taken = seconds(lambda: ql.emu_start(self._start, self._end))
        finally:
            ql.arch.regs.arch_sp = sp
            if hook is not None:
                ql.hook_del(hook)
        result = ql.arch.regs.rax if self._x86 else ql.arch.regs.x0
        check("the loop's result", result, turns * (turns - 1) // 2)
        return taken
