"""The kernel's workqueues that calls are put into: one that may run anywhere, one of each CPU."""

from __future__ import annotations

from functools import cache

from kprobesim.errors import GuestMemoryError, SymbolError
from kprobesim.image import KernelImage
from kprobesim.machine.memory import HostAccess

__all__ = ["Workqueues"]

# The works of the first may take long. NULL until workqueue_init_early(); the first names are of
# 6.17. (Those of system_highpri_wq come no sooner: 27 ms of the guest's time in 7.2, where these
# take 3.)
_ANYWHERE = ("system_dfl_wq", "system_unbound_wq")
_OF_A_CPU = ("system_percpu_wq", "system_wq")


class Workqueues:
    """Those of ``image``, in ``memory``."""

    def __init__(self, image: KernelImage, memory: HostAccess) -> None:
        self._memory = memory

        @cache
        def place(names: tuple[str, ...]) -> int:
            found = (image.exported(name) for name in names)
            at = next((each for each in found if each is not None), None)
            if at is None:
                raise SymbolError(names[-1], f"this kernel has no {names[-1]}, which calls need")
            return at

        self._place = place

    def address(self, cpu: int | None = None) -> int:
        """The address of one; 0 as long as there is none.

        Args:
            cpu: Its works are done on the CPU that they are queued on; ``None``: anywhere.

        Raises:
            SymbolError: The kernel does not say where it is.
        """
        try:
            return self._memory.read_u64(self._place(_ANYWHERE if cpu is None else _OF_A_CPU))
        except GuestMemoryError:
            return 0
