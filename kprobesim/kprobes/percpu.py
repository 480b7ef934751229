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
    """One of a kind for each CPU, by the CPU's number.

    Attributes:
        this: ``this()`` gives that of the CPU which runs (``this_cpu_ptr()``).
    """

    def __init__(self, system: System, make: Callable[[Vcpu], _T]) -> None:
        """Make one for each CPU of ``system``."""
        self._of = of = [make(vcpu) for vcpu in system.vcpus]
        only = of[0]
        self.this: Callable[[], _T] = (
            (lambda: only) if len(of) == 1 else (lambda: of[system.vcpu.number])
        )

    def __len__(self) -> int:
        return len(self._of)

    @overload
    def __getitem__(self, number: int) -> _T: ...

    @overload
    def __getitem__(self, number: slice) -> list[_T]: ...

    def __getitem__(self, number: int | slice) -> _T | list[_T]:
        return self._of[number]

    def call(self, of: Callable[[_T], Callable[..., Any]]) -> Callable[..., Any]:
        """The function that ``of`` gives for the CPU that runs, whenever it is called.

        With one CPU that is the function itself.
        """
        functions = [of(mine) for mine in self._of]
        if len(functions) == 1:
            return functions[0]
        numbers = {id(mine): number for number, mine in enumerate(self._of)}

        def of_this_cpu(*arguments: Any) -> Any:
            return functions[numbers[id(self.this())]](*arguments)

        return of_this_cpu
