"""One call in a booted guest, run again and again from its beginning: its own, or one of ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from kprobesim.arch.architecture import architecture
from kprobesim.boot.faults import BootError
from kprobesim.boot.stop import Stop, StopReason
from kprobesim.errno_names import errno_name
from kprobesim.errors import GuestMemoryError, UsageError
from kprobesim.image import Symbol
from kprobesim.kernel.arguments import code_address, name_of
from kprobesim.kernel.returning import CallWatch, GuestCall, watch_calls
from kprobesim.kernel.task_recording import TaskRecording
from kprobesim.machine.faults import GuestStop
from kprobesim.machine.unicorn.every_instruction import EveryInstruction
from kprobesim.sizes import MASK32
from kprobesim.why.answer import WhichCall, result_text
from kprobesim.why.replay import Flip, Outcome, flipping

if TYPE_CHECKING:
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.machine.fork_state import ForkState

__all__ = ["BootedCalls", "BootedRuns"]

_IDLE = 20.0
"""The guest's seconds in which the call must come, and return."""
_COUNTING = 5.0
"""The host's seconds in which calls behind the one that is explained are counted."""
_MAX_ERRNO = 4095


class _Guest:
    """A booted guest that is put back behind each run, and in the end to what it was."""

    _kernel: BootedKernel
    _before: ForkState

    def read(self, address: int, size: int) -> int | None:
        """See :class:`~kprobesim.why.replay.Runs`."""
        try:
            return int.from_bytes(self._kernel.machine.memory.read(address, size), "little")
        except GuestMemoryError:
            return None

    def close(self) -> None:
        """Let the guest be as it was."""
        self._kernel.restore_state(self._before)


class BootedRuns(_Guest):
    """The runs of a call that the guest makes while it does a line of shell.

    Attributes:
        call: The call.
        function: The name of the function.
        which: Which one it is of those that the guest makes.
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
            self.call, self.which = self._find(line, errno)
            kernel.restore_state(self._before)
            self._state = self._go_to(line)
            self.function = name_of(self.call.address, kernel.machine)
        except BaseException:
            self.close()
            raise

    # -- finding it --------------------------------------------------------------------------------

    def _find(self, line: str, errno: int | None) -> tuple[GuestCall, WhichCall]:
        """The call that is explained: the first to fail, and which of all it is."""
        kernel = self._kernel
        failed: list[GuestCall] = []
        results: list[int] = []
        first: list[GuestCall] = []
        count = 0

        def entered(call: GuestCall) -> bool:
            nonlocal count
            count = call.number
            if not first:
                first.append(call)
            return False

        def returned(call: GuestCall, value: int) -> None:
            value &= MASK32
            results.append(value)
            error = MASK32 + 1 - value
            if error == errno or (errno is None and error <= _MAX_ERRNO):
                failed.append(call)
                if len(failed) == 1:
                    kernel.stop()

        with self._watching(entered, returned):
            reason = self._type(line)
            whole = not failed or self._go_on()
        if failed or (errno is None and results):
            call = failed[0] if failed else first[0]
            return call, WhichCall(call.number, count, len(failed), errno, whole)
        late = f"; it was not done after {reason.detail}" if reason.kind is Stop.TIMEOUT else ""
        raise UsageError(_not_found(self._names(), bool(first), results, errno) + late)

    def _names(self) -> str:
        """What may be called, for people."""
        if len(self._functions) > 1:
            return "system calls"
        return name_of(self._functions[0], self._kernel.machine)

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
        with closing(watch):
            yield watch

    def _type(self, line: str) -> StopReason:
        self._kernel.console.send(line + "\n")
        return self._kernel.run(seconds=_IDLE, timeout=self._timeout)

    def _go_on(self) -> bool:
        """Count the calls that still come; whether the guest has come to rest."""
        try:
            reason = self._kernel.run(seconds=_IDLE, timeout=min(_COUNTING, self._timeout))
        except (GuestStop, BootError):
            return False
        return reason.kind is not Stop.TIMEOUT

    # -- running it --------------------------------------------------------------------------------

    def run(self, flip: Flip | None, most: int) -> Outcome:
        """See :class:`~kprobesim.why.replay.Runs`."""
        kernel = self._kernel
        machine = kernel.machine
        noted = EveryInstruction(machine.engine, self._words, most, self._sp)
        recording = TaskRecording(kernel, noted, self.call)
        text = ""
        printed = len(kernel.console.text)
        try:
            with flipping(machine, flip, noted):
                recording.run(_IDLE, self._timeout)
            text = _oops(kernel.console.text[printed:])
        except (GuestStop, BootError) as error:
            text = str(error).partition("\n")[0]
        finally:
            kernel.restore_state(self._state)
        returned = [] if recording.returned is None else [recording.returned]
        return _outcome(noted, returned, text, most)


class BootedCalls(_Guest):
    """The runs of a function that one of a booted guest's kworkers calls.

    Attributes:
        function: The name of the function.
    """

    which = None

    def __init__(
        self,
        kernel: BootedKernel,
        function: int | str | Symbol,
        arguments: tuple[Any, ...],
        timeout: float,
    ) -> None:
        """Where it can be called, with what needs memory in the guest's own."""
        self.function = name_of(function, kernel.machine)
        self._kernel = kernel
        self._address = code_address(function, kernel.symbols, kernel.machine)
        self._timeout = timeout
        abi = architecture(kernel.arch).abi
        self._words, self._sp = len(abi.registers), abi.number(abi.stack_pointer)
        self._before = kernel.fork_state()
        try:
            kernel.free(kernel.alloc(8))  # now it stands where it can be called
            self._values = [self._placed(argument) for argument in arguments]
            self._state = kernel.fork_state()
        except BaseException:
            self.close()
            raise

    def _placed(self, argument: Any) -> Any:
        """The address of what needs memory."""
        if isinstance(argument, str):
            argument = argument.encode() + b"\0"
        if not isinstance(argument, (bytes, bytearray)):
            return argument
        address = self._kernel.alloc(max(len(argument), 1))
        self._kernel.write(address, bytes(argument))
        return address

    def run(self, flip: Flip | None, most: int) -> Outcome:
        """See :class:`~kprobesim.why.replay.Runs`."""
        kernel = self._kernel
        machine = kernel.machine
        noted = EveryInstruction(machine.engine, self._words, most, self._sp)
        noted.on = False
        noted.enough = kernel.stop
        begun: list[GuestCall] = []
        returned: list[int] = []

        def entered(call: GuestCall) -> bool:
            if not begun:
                begun.append(call)
                noted.only_task_of(call.sp)
                noted.on = True
            return False

        def came_back(call: GuestCall, value: int) -> None:
            if call is begun[0]:
                returned.append(value)
                noted.note(call.returns_to)

        text = ""
        try:
            with (
                closing(watch_calls(machine, [self._address], entered, came_back)),
                flipping(machine, flip, noted),
                noted,
            ):
                kernel.call(self._address, *self._values, timeout=self._timeout)
        except (GuestStop, BootError) as error:
            text = str(error).partition("\n")[0]
        finally:
            kernel.restore_state(self._state)
        return _outcome(noted, returned, text, most)


def _outcome(noted: EveryInstruction, returned: Sequence[int], text: str, most: int) -> Outcome:
    """How a run has ended: by a return, or as ``text`` tells."""
    if noted.full:
        text = f"it was still running after {most} instructions"
    if not returned:
        return Outcome(noted, None, None, text or "it did not return")
    return Outcome(noted, len(noted) - 1, returned[0], text)


def _oops(printed: str) -> str:
    """The line in which the guest tells that it died, if it did."""
    marks = "BUG:", "Oops", "Unable to handle", "kernel BUG", "Kernel panic"
    lines = [line for line in printed.splitlines() if any(mark in line for mark in marks)]
    return lines[0].strip() if lines else ""


def _not_found(called: str, was_called: bool, results: list[int], errno: int | None) -> str:
    """Why there is nothing to explain; ``results`` are what calls returned, as 32 bits."""
    if not was_called:
        return f"nobody called {called} while the guest did the line"
    if not results:
        return f"no call of {called} returned while the guest did the line"
    errors = Counter(value for value in results if MASK32 + 1 - value <= _MAX_ERRNO)
    said = [f"{result_text(value)} {_times(count)}" for value, count in errors.most_common(5)]
    others = len(results) - errors.total()
    if others:
        said.append(f"no error {_times(others)}")
    wanted = "" if errno is None else f", never -{errno_name(errno)}"
    return f"{called} returned {', '.join(said)}{wanted} while the guest did the line"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
