"""``own_model``: a kernel's rules as its own code has them, not as its version says.

Distributions backport: Debian's 5.10.251 counts equal names as 6.7 does. So what a version cannot
tell is read from the functions that ask; the model by version stays where nothing can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kprobesim.arch.architecture import halves
from kprobesim.arch.arm64.immediates import immediate
from kprobesim.arch.arm64.insn import PATTERNS
from kprobesim.arch.x86_64 import Undecodable
from kprobesim.arch.x86_64.insn import decode
from kprobesim.errors import ImageError
from kprobesim.image import KernelImage
from kprobesim.kprobes.model import Model, model_of

__all__ = ["constants_of", "own_model"]

_CREATE = (
    # kernel/trace/trace_kprobe.c: who makes an event, 5.10, 5.11, 6.15, and with it inlined
    "trace_kprobe_create",
    "__trace_kprobe_create",
    "trace_kprobe_create_internal",
    "trace_kprobe_create_cb",
)
_EADDRNOTAVAIL, _ENOENT = -99, -2
_CALL, _INT3, _UD1 = b"\xe8", 0xCC, 0xB9


def own_model(image: KernelImage) -> Model:
    """The model of the kernel in ``image``: that of its version, with what its code says."""
    model = model_of(image.version)
    if not image.has_symbols:
        return model
    model = _kretprobes(image, _events(image, model))
    return _OWN[image.arch](image, model)


def _events(image: KernelImage, model: Model) -> Model:
    """What kprobe_events says to a name that is there several times, or not at all.

    ``validate_probe_symbol()`` (6.11) leaves its errno to the parser, which makes it EINVAL; before
    that -EADDRNOTAVAIL (6.7 and stable kernels since 2023) is returned as it is.
    """
    if _functions(image, "validate_probe_symbol"):
        return replace(model, events_ambiguous_errno="EINVAL", events_unknown_errno="EINVAL")
    there = any(_functions(image, name) for name in _CREATE)
    if not there or model.events_ambiguous_errno == "EINVAL":  # it is inlined
        return model
    if _EADDRNOTAVAIL in constants_of(image, *_CREATE):
        return replace(model, events_ambiguous_errno="EADDRNOTAVAIL")
    return replace(model, events_ambiguous_errno=None)


def _kretprobes(image: KernelImage, model: Model) -> Model:
    """What register_kretprobe() says to a place that it does not know.

    ``kprobe_on_func_entry()`` answers -ENOENT since 5.12 and in stable kernels of that time; before
    it only said no.
    """
    asks = _ENOENT in constants_of(image, "kprobe_on_func_entry")
    return replace(model, kretprobe_unresolved_errno="ENOENT") if asks else model


def _x86(image: KernelImage, model: Model) -> Model:
    """``can_probe()`` of arch/x86/kernel/kprobes/core.c.

    ``is_exception_insn()`` (6.9) compares with the opcodes of UD0 and UD1. Else a comparison with
    INT3 is about breakpoints on the way to the probe: any of them (before 6.2 and stable kernels
    of that time), or those of kgdb, which it asks.
    """
    code = _functions(image, "can_probe")
    if not code:
        return model
    numbers = {number & 0xFF for part in code for number in _x86_constants(part)}
    refuses = _UD1 in numbers
    kgdb = image.symbols.candidates("kgdb_has_hit_break")
    asks = any(symbol.address in _called(image, "can_probe") for symbol in kgdb)
    x86 = replace(
        model.x86,
        refuse_exception_insns=refuses,
        int3_ends_walk=_INT3 in numbers and not refuses and not asks,
    )
    return replace(model, x86=x86)


def _arm64(image: KernelImage, model: Model) -> Model:
    """``is_probed_address_atomic()``, inline: by which bits it knows an exclusive load (6.15)."""
    code = _functions(image, "arm_kprobe_decode_insn")
    numbers = {number for part in code for number in _arm64_constants(part)}
    narrow = PATTERNS["load_exclusive"].mask in numbers
    if narrow == (PATTERNS["load_exclusive_wide"].mask in numbers):
        return model
    return replace(model, arm64=replace(model.arm64, narrow_exclusives=narrow))


_OWN = halves(x86_64=_x86, arm64=_arm64)


# -- reading code ----------------------------------------------------------------------------------


def _functions(image: KernelImage, name: str) -> list[bytes]:
    """The code of the function ``name``, and of the parts that the compiler has split off."""
    found = []
    for full in (name, f"{name}.cold"):
        for symbol in image.symbols.candidates(full):
            try:
                found.append(image.read(symbol.address, symbol.size))
            except ImageError:
                continue  # a name of something else
    return found


def constants_of(image: KernelImage, *names: str) -> set[int]:
    """The numbers that instructions of these functions hold, sign-extended."""
    constants = _CONSTANTS[image.arch]
    code = [part for name in names for part in _functions(image, name)]
    return {number for part in code for number in constants(part)}


def _arm64_constants(code: bytes) -> Iterator[int]:
    """The numbers that instructions of ``code`` hold, sign-extended."""
    for at in range(0, len(code) - 3, 4):
        number = immediate(int.from_bytes(code[at : at + 4], "little"))
        if number is not None:
            yield number


def _x86_constants(code: bytes) -> Iterator[int]:
    """The numbers that instructions of ``code`` hold, sign-extended."""
    at = 0
    while at < len(code):
        try:
            insn = decode(code[at : at + 15])
        except Undecodable:
            return
        if insn.imm_size:
            yield insn.imm
        at += insn.length


_CONSTANTS = halves(x86_64=_x86_constants, arm64=_arm64_constants)


def _called(image: KernelImage, name: str) -> set[int]:
    """Where the CALLs of the x86 function ``name`` go."""
    targets = set()
    for symbol in image.symbols.candidates(name):
        code, at = image.read(symbol.address, symbol.size), 0
        while at < len(code):
            try:
                insn = decode(code[at : at + 15])
            except Undecodable:
                break
            at += insn.length
            if insn.opcode == _CALL:
                targets.add(symbol.address + at + insn.imm)
    return targets
