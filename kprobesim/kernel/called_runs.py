"""Calling a function of a called kernel again and again from one state, recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kprobesim.arch.architecture import architecture
from kprobesim.errors import GuestMemoryError
from kprobesim.image import Symbol
from kprobesim.kernel.arguments import give_back, name_of, pass_arguments
from kprobesim.machine.faults import GuestStop
from kprobesim.machine.unicorn.every_instruction import EveryInstruction
from kprobesim.why.replay import Flip, Outcome, flipping

if TYPE_CHECKING:
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.kernel.called_memory import CalledMemory

__all__ = ["CalledRuns"]


class CalledRuns:
    """The runs of one call.

    Attributes:
        function: What it is called.
    """

    which = None

    def __init__(
        self,
        kernel: CalledKernel,
        function: int | str | Symbol,
        arguments: tuple[Any, ...],
        memory: CalledMemory,
        timeout: float,
    ) -> None:
        """From the state that the kernel is in now, with the arguments in its memory."""
        self._kernel = kernel
        self.function = name_of(function, kernel.machine)
        self._function = function
        self._memory = memory
        self._timeout = timeout
        abi = architecture(kernel.arch).abi
        self._words, self._sp = len(abi.registers), abi.number(abi.stack_pointer)
        self._values, self._lent = pass_arguments(arguments, memory, True)
        try:
            self._state = kernel.fork_state()
        except BaseException:
            self.close()
            raise

    def run(self, flip: Flip | None, most: int) -> Outcome:
        """See :class:`~kprobesim.why.replay.Runs`."""
        kernel = self._kernel
        noted = EveryInstruction(kernel.machine.engine, self._words, most, self._sp)
        noted.enough = kernel.stop
        returned: int | None = None
        text = ""
        try:
            with flipping(kernel.machine, flip, noted), noted:
                returned = kernel.call(self._function, *self._values, timeout=self._timeout)
        except GuestStop as error:
            text = str(error).partition("\n")[0]
        finally:
            kernel.restore_state(self._state)
        if noted.full:
            text = f"it was still running after {most} instructions"
        # The last one noted is the halt that it returns to.
        return Outcome(noted, None if returned is None else len(noted) - 1, returned, text)

    def close(self) -> None:
        """Take the arguments back."""
        give_back(self._lent, self._memory, failed=True)
        self._lent = []

    def read(self, address: int, size: int) -> int | None:
        """See :class:`~kprobesim.why.replay.Runs`."""
        try:
            return int.from_bytes(self._kernel.machine.memory.read(address, size), "little")
        except GuestMemoryError:
            return None
