"""``Calls``: calling functions of a kernel, once or many times."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from kprobesim.errors import UsageError
from kprobesim.image import Symbol
from kprobesim.machine.system import System
from kprobesim.machine.turn import in_turn

__all__ = ["Calls", "as_rows"]


class Calls(ABC):
    """The verbs of :class:`~kprobesim.kernel.base.Kernel` that call."""

    machine: System

    @abstractmethod
    def call(
        self,
        function: int | str | Symbol,
        *arguments: Any,
        signed: bool = False,
        timeout: float | None = 10.0,
        max_instructions: int = 0,
        guard: bool | None = None,
    ) -> int:
        """Call a guest function and return its 64-bit result.

        Args:
            function: Its symbol, or its address.
            *arguments: Integers (negative ones as two's complement), symbols (their address),
                ``None`` (NULL); ``str`` (UTF-8 with a trailing NUL), ``bytes`` and ``bytearray``
                are placed in guest memory for the time of the call and their address is passed; a
                ``bytearray`` gets its content back afterwards.
            signed: Give the result as a signed 64-bit number.
            timeout: Seconds of the host's time after which the call is abandoned; ``None``: never.
            max_instructions: Abandon it then; 0: no limit.
            guard: Let what is placed in memory end where a page ends, with nothing mapped behind
                it, so that a function that overruns it faults. A called kernel does so unless this
                is ``False``; a booted one if it is ``True``.

        Raises:
            GuestFault: The function faulted; :class:`GuestBug` if it executed ``BUG()``.
            GuestTimeout: ``timeout`` is over.
            GuestLimit: ``max_instructions`` have been executed.
            UsageError: What is asked for makes no sense.
        """

    @in_turn
    def call_many(
        self,
        function: int | str | Symbol,
        rows: Iterable[Any],
        *,
        signed: bool = False,
        timeout: float | None = 10.0,
        max_instructions: int = 0,
        guard: bool | None = None,
    ) -> list[int]:
        """Call a function for each of ``rows``: the same as so many :meth:`call`, in less time.

        >>> k.call_many("strlen", ["a", "bcd"])
        [1, 3]
        >>> k.call_many("gcd", [(12, 18), (7, 21)])
        [6, 7]

        Args:
            function: As for :meth:`call`.
            rows: A tuple or list of arguments each; of a function with one argument, the argument.
                An array of numpy's does, too.
            signed: As for :meth:`call`.
            timeout: As for :meth:`call`: for each of the calls.
            max_instructions: As for :meth:`call`: for each of the calls.
            guard: As for :meth:`call`.

        Returns:
            The results, in order.

        Raises:
            Exception: What :meth:`call` raises, for the first row that is not called to its end. It
                has two attributes more: ``row``, the index of that row, and ``results``, those of
                the rows before.
        """
        results: list[int] = []
        try:
            self._call_rows(
                function,
                as_rows(rows),
                results,
                timeout=timeout,
                max_instructions=max_instructions,
                guard=guard,
            )
        except BaseException as error:
            error.row = len(results)  # type: ignore[attr-defined]
            error.results = _as_results(results, signed)  # type: ignore[attr-defined]
            raise
        return _as_results(results, signed)

    def _call_rows(
        self,
        function: int | str | Symbol,
        rows: Sequence[Sequence[Any]],
        results: list[int],
        *,
        timeout: float | None,
        max_instructions: int,
        guard: bool | None,
    ) -> None:
        """Call it for each of ``rows``, and add the results as they come."""
        for row in rows:
            result = self.call(
                function, *row, timeout=timeout, max_instructions=max_instructions, guard=guard
            )
            results.append(result)


def as_rows(rows: Iterable[Any]) -> list[Sequence[Any]]:
    """Rows of arguments, of which each may be a single one; raises :class:`UsageError`."""
    to_list = getattr(rows, "tolist", None)  # of numpy, whose numbers are no int
    try:
        listed = [*(rows if to_list is None else to_list())]
    except TypeError:
        raise UsageError(
            f"{rows!r} are no rows of arguments: give a list of tuples, or of single arguments"
        ) from None
    return [row if isinstance(row, (tuple, list)) else (row,) for row in listed]


def _as_results(results: list[int], signed: bool) -> list[int]:
    if not signed:
        return results
    return [value - (value >> 63 << 64) for value in results]
