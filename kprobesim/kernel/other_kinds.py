"""What is said of a verb that a kernel does not have, but one of another kind has."""

from __future__ import annotations

from typing import NoReturn

from kprobesim.errors import OtherKernelError

__all__ = ["no_such_verb"]


def no_such_verb(kernel: object, name: str) -> NoReturn:
    """Raise what tells where ``name`` is to be had; for ``__getattr__``.

    Raises:
        OtherKernelError: Kernels of another kind have it.
        AttributeError: No kernel has it.
    """
    kind = type(kernel)
    if hasattr(kind, name):  # it is there, and has raised an AttributeError
        object.__getattribute__(kernel, name)
    if not name.startswith("_"):
        from kprobesim.kernel.booted import BootedKernel
        from kprobesim.kernel.called import CalledKernel

        called, booted = hasattr(CalledKernel, name), hasattr(BootedKernel, name)
        if called and booted:
            raise OtherKernelError(
                f"{name} is for kernels that run, and this one is only read: make one by "
                "Kernel.load(path) or Kernel.boot(path)"
            )
        if called:
            raise OtherKernelError(
                f"{name} is for kernels whose functions are called: Kernel.load(path)"
            )
        if booted:
            raise OtherKernelError(f"{name} is for kernels that boot: Kernel.boot(path)")
    raise AttributeError(f"{kind.__name__!r} object has no attribute {name!r}")
