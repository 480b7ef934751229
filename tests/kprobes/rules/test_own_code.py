"""Which rules a kernel's own code tells, against what the guest functions of real ones do."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from makers.patching_maker import CODE, Maker

from kprobesim import MODELS, Kernel
from kprobesim.arch.arm64.immediates import immediate
from kprobesim.image import load_image
from kprobesim.kprobes.model import Model
from kprobesim.kprobes.model_facts import own_facts, with_facts
from kprobesim.kprobes.rules.own_code import own_model

UD1 = "80fab9"  # cmp $0xb9, %dl
INT3 = "3ccc"  # cmp $0xcc, %al
NOT_UNIQUE = "b89dffffff"  # mov $-99, %eax
WIDE, NARROW = 0x52A7E805, 0x120A1C42  # mov w5, #0x3f400000; and w2, w2, #0x3fc00000


def x86(version: str, **functions: str) -> Model:
    """The model of a kernel with these functions, and ``__probed`` code that is never reached."""
    maker = Maker(version=version)
    for number, (name, code) in enumerate(functions.items()):
        maker.symbols[name] = maker.put(CODE + 0x100 * (number + 1), bytes.fromhex(code + "c3"))
    return own_model(maker.image())


def arm64(version: str, *words: int) -> Model:
    maker = Maker("arm64", version=version)
    code = struct.pack(f"<{len(words) + 1}I", *words, 0xD65F03C0)
    maker.symbols["arm_kprobe_decode_insn"] = maker.put(CODE + 0x100, code)
    return own_model(maker.image())


def test_equal_names() -> None:
    """What kprobe_events says: by its own number, since which distributions have it, too."""
    assert x86("5.10.0").events_ambiguous_errno is None  # nothing can be read
    assert x86("5.10.251", trace_kprobe_create=NOT_UNIQUE).events_ambiguous_errno == "EADDRNOTAVAIL"
    assert x86("6.1.0", __trace_kprobe_create="90").events_ambiguous_errno is None
    backported = x86("6.6.0", validate_probe_symbol="90", __trace_kprobe_create=NOT_UNIQUE)
    assert (backported.events_ambiguous_errno, backported.events_unknown_errno) == ("EINVAL",) * 2
    inlined = x86("6.12.0", __trace_kprobe_create=NOT_UNIQUE)
    assert inlined.events_ambiguous_errno == "EINVAL"


def test_breakpoints_on_the_way() -> None:
    assert x86("5.10.0", can_probe=INT3).x86.int3_ends_walk
    assert not x86("5.10.251", can_probe="90").x86.int3_ends_walk
    # call kgdb_has_hit_break, which lies 0x100 bytes on
    asks = x86("5.10.251", can_probe=f"{INT3} e8f9000000", kgdb_has_hit_break="90")
    assert not asks.x86.int3_ends_walk
    calls_other = x86("5.10.251", can_probe=f"{INT3} e8f8000000", kgdb_has_hit_break="90")
    assert calls_other.x86.int3_ends_walk


def test_instructions_made_to_trap() -> None:
    assert x86("6.8.0", can_probe=INT3 + UD1).x86.refuse_exception_insns
    assert not x86("6.8.0", can_probe=INT3 + UD1).x86.int3_ends_walk
    assert not x86("6.12.0", can_probe="90").x86.refuse_exception_insns


def test_exclusive_loads() -> None:
    assert arm64("6.12.0", NARROW).arm64.narrow_exclusives
    assert not arm64("6.17.0", WIDE).arm64.narrow_exclusives
    assert arm64("6.17.0", 0xD503201F).arm64 == MODELS["6.17"].arm64
    assert arm64("6.17.0", WIDE, NARROW).arm64 == MODELS["6.17"].arm64  # it tells nothing


def test_immediates() -> None:
    """Against the assembler's: ``and``, ``orr``, ``mov`` of GNU as."""
    assert immediate(WIDE) == 0x3F400000
    assert immediate(NARROW) == 0x3FC00000
    assert immediate(0x12800C40) == -99  # mov w0, #-99
    assert immediate(0x92F47E20) is not None  # movn, 64 bits
    assert immediate(0x927EF420) == -4  # and x0, x1, #0xfffffffffffffffc
    assert immediate(0xB2407FE0) == 0xFFFF_FFFF  # orr x0, xzr, #0xffffffff
    assert immediate(0x3200F3E0) == 0x5555_5555  # orr w0, wzr, #0x55555555
    assert immediate(0xD503201F) is None  # nop
    assert immediate(0x12407C00) is None  # N = 1 in 32 bits


def test_what_was_read_is_kept() -> None:
    for name in ("5.10", "6.17"):
        model = MODELS[name]
        other = MODELS["6.17" if name == "5.10" else "5.10"]
        read = with_facts(model, own_facts(other))
        assert own_facts(read) == own_facts(other) and read.name == name
    assert with_facts(MODELS["6.1"], own_facts(MODELS["6.1"])) == MODELS["6.1"]
    for damaged in ({}, None, own_facts(MODELS["6.1"]) | {"int3_ends_walk": 1}):
        with pytest.raises(ValueError, match="of a model"):
            with_facts(MODELS["6.1"], damaged)


@pytest.mark.real_kernel
def test_a_snapshot_keeps_what_was_read(real_image: Path, tmp_path: Path) -> None:
    image = load_image(real_image)
    own = own_model(image)
    read = replace(own, events_ambiguous_errno=None)
    file = tmp_path / "guest.kps"
    Kernel.boot(image, model=read).snapshot(file)
    resumed = Kernel.resume(file)
    assert (resumed.model.events_ambiguous_errno, resumed.model.name) == (None, own.name)
