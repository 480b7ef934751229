"""``DEFINE_PER_CPU``: what there is one of for each CPU (include/linux/percpu-defs.h)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:  # who only asks the rules loads no emulator
    from kprobesim.machine.system import System
    from kprobesim.machine.vcpu import Vcpu

__all__ = ["PerCpu"]

_T = TypeVar("_T")


class PerCpu(Sequence[_T], Generic[_T]):
    """One of a kind for each CPU, by the CPU's number; a CPU that is added later gets one, too.

    Attributes:
        this: ``this()`` gives that of the CPU which runs (``this_cpu_ptr()``). It is another
            function when there are more CPUs: look it up each time.
    """

    def __init__(self, system: System, make: Callable[[Vcpu], _T]) -> None:
        """Make one for each CPU of ``system``."""
        self._system, self._make = system, make
        self._of = [make(vcpu) for vcpu in system.vcpus]
        self._heard: list[Callable[[_T], object]] = []
        self.this = self._make_this()
        system.on_new_vcpu.append(self._grow)

    def __len__(self) -> int:
        return len(self._of)

    @overload
    def __getitem__(self, number: int) -> _T: ...

    @overload
    def __getitem__(self, number: slice) -> list[_T]: ...

    def __getitem__(self, number: int | slice) -> _T | list[_T]:
        return self._of[number]

    def _make_this(self) -> Callable[[], _T]:
        of, system, only = self._of, self._system, self._of[0]
        return (lambda: only) if len(of) == 1 else (lambda: of[system.vcpu.number])

    def on_new(self, heard: Callable[[_T], object]) -> None:
        """Call ``heard`` with that of each CPU which is added from now on."""
        self._heard.append(heard)

    def _grow(self, vcpu: Vcpu) -> None:
        mine = self._make(vcpu)
        self._of.append(mine)
        self.this = self._make_this()
        for heard in self._heard:
            heard(mine)

    def call(self, of: Callable[[_T], Callable[..., Any]]) -> Callable[..., Any]:
        """The function that ``of`` gives for the CPU that runs, whenever it is called.

        With one CPU that is the function itself: ask again :meth:`on_new` ones.
        """
        functions = [of(mine) for mine in self._of]
        if len(functions) == 1:
            return functions[0]
        system = self._system

        def of_this_cpu(*arguments: Any) -> Any:
            return functions[system.vcpu.number](*arguments)

        return of_this_cpu
