"""Machine code out of LLVM's intermediate form, by llvmlite: for the host's own processor."""

from __future__ import annotations

import functools
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

__all__ = ["Code", "compile_module"]


class Code:
    """A module that was compiled; its functions live as long as this does."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def address(self, name: str) -> int:
        """Where in this process a function is."""
        return int(self._engine.get_function_address(name))


@functools.cache
def _target() -> tuple[Any, str, str]:
    """The host's processor: for LLVM, by name, and by what it can do."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple(), llvm.get_host_cpu_name(), features


def compile_module(module: ir.Module) -> Code:
    """Compile ``module``, optimised as a C compiler's -O2 does."""
    processor, name, features = _target()
    # Each engine frees its own when it goes.
    target = processor.create_target_machine(cpu=name, features=features, opt=2)
    parsed = llvm.parse_assembly(str(module))
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, target)
    engine.finalize_object()
    return Code(engine)
