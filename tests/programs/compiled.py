"""Functions made of LLVM's code, to be called by tests."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llvmlite import binding, ir

I64, I8P = ir.IntType(64), ir.IntType(8).as_pointer()


class Compiled:
    """The functions of one module, each of words and pointers, and with a word as its result."""

    def __init__(self, module: ir.Module) -> None:
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        machine = binding.Target.from_default_triple().create_target_machine(opt=1)
        parsed = binding.parse_assembly(str(module))
        parsed.verify()
        self._engine = binding.create_mcjit_compiler(parsed, machine)
        self._engine.finalize_object()

    def __getitem__(self, name: str) -> Callable[..., int]:
        address = self._engine.get_function_address(name)
        return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_void_p)(address)


def new_function(module: ir.Module, name: str) -> tuple[Any, Any, Any]:
    """A function of an address and a pointer, for :class:`Compiled`: its builder, and the two."""
    function = ir.Function(module, ir.FunctionType(I64, [I64, I8P]), name)
    return ir.IRBuilder(function.append_basic_block()), *function.args
