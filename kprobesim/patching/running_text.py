"""The code of a kernel as its boot leaves it, without booting it.

A kernel image is not what runs: ftrace's calls become NOPs, alternatives are chosen for the CPU,
returns and static calls are rewritten. Probes are judged by what runs.
"""

from __future__ import annotations

from kprobesim.arch.architecture import halves
from kprobesim.image import KernelImage
from kprobesim.image.modules.module_image import ModuleImage
from kprobesim.patching import arm64, x86_64
from kprobesim.patching.text import Code

__all__ = ["RunningText", "module_text", "running_text"]


_PATCH = halves(x86_64=x86_64.patch, arm64=arm64.patch)
_PATCH_MODULE = halves(x86_64=x86_64.patch_module, arm64=arm64.patch_module)


class RunningText:
    """What :func:`running_text` found."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self.read = code.read
        """``read(address, size)``: the bytes; ``ImageError`` outside of the image."""

    @property
    def areas(self) -> dict[int, bytearray]:
        """The areas of code that differ from the file, by address; not to be changed."""
        return self._code.changed

    @property
    def variables(self) -> dict[int, bytes]:
        """The variables that go with the code, static keys for one, where they differ."""
        return self._code.variables


def running_text(image: KernelImage, *, static_keys: bool = True) -> RunningText:
    """The text of ``image`` as it runs on an unaffected CPU.

    ``static_keys=False`` leaves the jump labels as the image's own keys say. Code that runs
    without a boot needs that: what boot switches on, it has also set up.
    """
    code = Code(image)
    _PATCH[image.arch](code, static_keys=static_keys)
    return RunningText(code)


def module_text(module: ModuleImage, kernel: KernelImage) -> RunningText:
    """The text of ``module`` as loading it into ``kernel`` leaves it."""
    code = Code(module, kernel)
    _PATCH_MODULE[module.arch](code, Code(kernel))
    return RunningText(code)
