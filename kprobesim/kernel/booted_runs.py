"""One call that a booted guest makes, found by its result and run again from its beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kprobesim.arch.architecture import architecture
from kprobesim.boot.faults import BootError
from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.kernel.arguments import name_of
from kprobesim.kernel.returning import CallWatch, GuestCall, watch_calls
from kprobesim.machine.faults import GuestStop
from kprobesim.machine.unicorn.every_instruction import EveryInstruction
from kprobesim.sizes import MASK32
from kprobesim.why.replay import Flip, Outcome, flipping

if TYPE_CHECKING:
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.machine.fork_state import ForkState

__all__ = ["BootedRuns"]

_IDLE = 20.0
"""The guest's seconds in which the call must come, and return."""
_MAX_ERRNO = 4095
_STACK = 16 << 10  # THREAD_SIZE is a multiple of it, and a system call begins at the stack's top


class BootedRuns:
    """The runs of a call that the guest makes while it does a line of shell.

    Attributes:
        call: Which call it is.
        function: The name of the function.
    """

    def __init__(
        self,
        kernel: BootedKernel,
        functions: Iterable[int],
        line: str,
        errno: int | None,
        timeout: float,
    ) -> None:
        """Find the call.

        Args:
            kernel: Stands where somebody reads lines from the console.
            functions: The addresses of the functions that may be called.
            line: The line.
            errno: The error that the call returns; ``None``: any, or the first call if none fails.
            timeout: Seconds of the host's, for each run.

        Raises:
            UsageError: There is no such call.
        """
        self._kernel = kernel
        self._timeout = timeout
        abi = architecture(kernel.arch).abi
        self._words, self._sp = len(abi.registers), abi.number(abi.stack_pointer)
        self._functions = list(functions)
        self._before = kernel.fork_state()
        try:
            self.call = self._find(line, errno)
            kernel.restore_state(self._before)
            self._state = self._go_to(line)
            self.function = name_of(self.call.address, kernel.machine)
        except BaseException:
            self.close()
            raise

    # -- finding it --------------------------------------------------------------------------------

    def _find(self, line: str, errno: int | None) -> GuestCall:
        kernel, found = self._kernel, []
        results: list[int] = []
        first: list[GuestCall] = []

        def entered(call: GuestCall) -> bool:
            if not first:
                first.append(call)
            return False

        def returned(call: GuestCall, value: int) -> None:
            value &= MASK32
            results.append(value)
            error = MASK32 + 1 - value
            if error == errno or (errno is None and error <= _MAX_ERRNO):
                found.append(call)
                kernel.stop()

        with self._watching(entered, returned):
            self._type(line)
        if found:
            return found[0]
        if errno is None and results:
            return first[0]
        raise UsageError(_not_found(len(first), results, errno))

    def _go_to(self, line: str) -> ForkState:
        """Stand where the call begins."""
        kernel = self._kernel

        def entered(call: GuestCall) -> bool:
            if call.number != self.call.number:
                return False
            kernel.stop()
            return True

        with self._watching(entered, lambda _call, _value: None):
            self._type(line)
        if kernel.machine.regs.ip != self.call.address:
            raise UsageError("the guest did something else when it did the line once more")
        return kernel.fork_state()

    @contextmanager
    def _watching(
        self,
        entered: Callable[[GuestCall], bool],
        returned: Callable[[GuestCall, int], object],
    ) -> Iterator[CallWatch]:
        watch = watch_calls(self._kernel.machine, self._functions, entered, returned)
        try:
            yield watch
        finally:
            watch.end()

    def _type(self, line: str) -> None:
        self._kernel.console.send(line + "\n")
        self._kernel.run(seconds=_IDLE, timeout=self._timeout)

    # -- running it --------------------------------------------------------------------------------

    def run(self, flip: Flip | None, most: int) -> Outcome:
        """See :class:`~kprobesim.why.replay.Runs`."""
        kernel, call = self._kernel, self.call
        machine = kernel.machine
        low = (call.sp - 1) & -_STACK
        stack = range(low, low + _STACK + 1)  # with the stack pointer of an empty one
        noted = EveryInstruction(machine.engine, self._words, most, stack, self._sp)
        noted.enough = kernel.stop
        returned: list[int] = []

        def came_back(again: GuestCall, value: int) -> None:
            if not returned and again.sp == call.sp:
                returned.append(value)
                noted.note(call.returns_to)
                kernel.stop()

        text = ""
        printed = len(kernel.console.text)
        try:
            with (
                self._watching(lambda _call: False, came_back),
                flipping(machine, flip),
                noted,
            ):
                kernel.run(seconds=_IDLE, timeout=self._timeout)
            text = _oops(kernel.console.text[printed:])
        except (GuestStop, BootError) as error:
            text = str(error).partition("\n")[0]
        finally:
            kernel.restore_state(self._state)
        if noted.full:
            text = f"it was still running after {most} instructions"
        if not returned:
            return Outcome(noted, None, None, text or "it did not return")
        return Outcome(noted, len(noted) - 1, returned[0], text)

    def read(self, address: int, size: int) -> int | None:
        """See :class:`~kprobesim.why.replay.Runs`."""
        try:
            return int.from_bytes(self._kernel.machine.memory.read(address, size), "little")
        except GuestMemoryError:
            return None

    def close(self) -> None:
        """Let the guest be as it was."""
        self._kernel.restore_state(self._before)


def _oops(printed: str) -> str:
    """The line in which the guest tells that it died, if it did."""
    marks = "BUG:", "Oops", "Unable to handle", "kernel BUG", "Kernel panic"
    lines = [line for line in printed.splitlines() if any(mark in line for mark in marks)]
    return lines[0].strip() if lines else ""


def _not_found(calls: int, results: list[int], errno: int | None) -> str:
    if not calls:
        return "nobody called it while the guest did the line"
    wanted = "" if errno is None else f" the error {errno}"
    return f"none of its {calls} calls returned{wanted} while the guest did the line"
