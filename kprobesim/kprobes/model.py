"""What kprobes were in which kernel: one row of data a model, and no other place asks for versions.

Each field says what it decides; docs/models.md has the same table with sources. "Before 5.13" and
the like name the first kernel that differs, between two models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

from kprobesim.arch.architecture import halves
from kprobesim.errors import UsageError
from kprobesim.late_dataclasses import dataclass

__all__ = [
    "DEFAULT_MODEL",
    "MODELS",
    "Arm64Model",
    "Model",
    "X86Model",
    "known_model",
    "model_of",
]

Stepping = Literal["breakpoint", "trap"]
Boost = Literal["after a step", "without post_handler", "when prepared"]
Vanished = Literal["report", "retry if gone", "retry"]
Maxactive = Literal["cpus unless preemptible", "at least 10"]


@dataclass(frozen=True)
class X86Model:
    """x86-64: arch/x86/kernel/kprobes/core.c."""

    refuse_ftrace_sites: ClassVar = False
    stepping: Stepping
    """How a copied instruction ends. Stepped by the trap flag, branches run in the slot too, and
    what they left is put right afterwards; else they are emulated."""
    slot_size: int
    """Bytes of a slot (MAX_INSN_SIZE)."""
    boost: Boost
    """When a copy runs without a trap behind it (never on a preemptible kernel)."""
    wide_boost_table: bool
    """Groups with memory operands and most of Cx, Dx, Fx may be boosted."""
    group_boost: bool
    """So may most shifts, unary arithmetic, INC and DEC."""
    unboostable_prefixes: frozenset[int]
    """Prefixes that forbid boosting: CS override, address size."""
    int3_ends_walk: bool
    """An INT3 between the function's start and the probe refuses the probe (-EILSEQ)."""
    refuse_exception_insns: bool
    """UD2, INT n ... are refused (-EILSEQ)."""
    refuse_cfi_checks: bool
    """The MOV and ADD of a kCFI check, which its trap decodes, are refused (-EILSEQ)."""
    ftrace: bool
    """A probe on the place that ftrace patches goes through ftrace (KPROBES_ON_FTRACE)."""
    refuse_inside_ftrace: bool
    """An address inside such a place is refused first of all (-EILSEQ)."""
    skip_endbr: bool
    """Behind an ENDBR the function's entry is four bytes on."""
    vanished: Vanished
    """What a breakpoint without a probe means."""
    syncs: bool
    """Who takes a breakpoint out waits for other CPUs' traps (text_poke_sync(), 5.5)."""
    blacklist: tuple[str, ...]
    """Sections refused besides those of all architectures."""


@dataclass(frozen=True)
class Arm64Model:
    """ARM64: arch/arm64/kernel/probes."""

    ftrace: ClassVar = False
    refuse_ftrace_sites: ClassVar = True
    """A probe on the place that ftrace patches is refused (-EINVAL)."""
    refuse_inside_ftrace: ClassVar = False
    skip_endbr: ClassVar = False
    stepping: Stepping
    """How a copied instruction ends: BRK #6 behind it, or MDSCR_EL1.SS with SPSR.SS."""
    slot_size: int
    """Bytes of a slot: with or without the BRK."""
    simulate_nop: bool
    """NOP is simulated and takes no slot."""
    refuse_unknown_hints: bool
    """Hints are refused unless they are known to be harmless; else what waits or signals is."""
    narrow_exclusives: bool
    """Looking back for an open exclusive sequence is not fooled by LDAR, STLR and CAS."""
    refuse_mops: bool
    """The memory copy and set instructions are refused."""
    reenter_while_stepping: bool
    """A probe hit while another one is stepped is only counted, not a BUG."""
    nesting_saves_daif: bool
    """The saved DAIF bits are remembered with the outer hit."""
    vanished: Vanished
    """What a BRK #4 without a probe means."""
    syncs: ClassVar = True
    """Who takes a BRK out waits for other CPUs' traps (aarch64_insn_patch_text())."""
    blacklist: tuple[str, ...]
    """Sections refused besides those of all architectures."""


@dataclass(frozen=True)
class Model:
    """One kernel's kprobes: kernel/kprobes.c, and what the architectures add."""

    name: str
    fault_handlers: bool
    """``struct kprobe`` has a fault_handler, and a fault in a handler counts as missed."""
    jprobes: bool
    """register_jprobe() exists."""
    unresolved_errno: Literal["EINVAL", "ENOENT"]
    """For a symbol that does not exist."""
    place_needs_symbol: bool
    """An address that belongs to no symbol is -ENOENT; else -EINVAL, for it is no text."""
    suffix_rule: bool
    """foo.isra.0 and foo.cold are blacklisted with foo."""
    blacklist: tuple[str, ...]
    """Sections that are refused on every architecture."""
    refuse_jump_labels: bool
    refuse_static_calls: bool
    refuse_bugs: bool
    refuse_cfi_preambles: bool
    """Symbols that begin with __cfi_ or __pfx_."""
    events_ambiguous_errno: Literal["EADDRNOTAVAIL", "EINVAL"] | None
    """What kprobe_events says to a name that is there several times; else the first is meant."""
    events_unknown_errno: Literal["ENOENT", "EINVAL"]
    """What it says to a symbol that does not exist."""
    refuse_module_twins: bool
    """The same for MOD:SYM if the module has several of that name (6.11)."""
    lto_suffix: Literal["", ".", ".llvm."]
    """What a kernel of clang's LTO leaves out of a symbol's name, from there on, to look it up."""
    kretprobe_maxactive: Maxactive
    """How many calls of a function are followed if nothing is asked for."""
    kretprobe_at_entry_only: bool
    """A kretprobe anywhere else is refused (-EINVAL)."""
    kretprobe_unresolved_errno: Literal["EINVAL", "ENOENT"]
    """For a kretprobe on a symbol that does not exist."""
    x86: X86Model
    arm64: Arm64Model

    @property
    def version(self) -> tuple[int, int]:
        """``(6, 1)``."""
        major, minor = self.name.split(".")
        return int(major), int(minor)

    def of(self, arch: str) -> X86Model | Arm64Model:
        """The half of one architecture."""
        models: Mapping[str, X86Model | Arm64Model] = halves(x86_64=self.x86, arm64=self.arm64)
        return models[arch]


_KPROBES_TEXT, _NOINSTR, _ENTRY = ".kprobes.text", ".noinstr.text", ".entry.text"
_IRQENTRY, _IDMAP, _HYP = ".irqentry.text", ".idmap.text", (".hyp.text", ".hyp.idmap.text")

_2_6 = Model(
    name="2.6",
    fault_handlers=True,
    jprobes=True,
    unresolved_errno="EINVAL",
    place_needs_symbol=False,
    suffix_rule=False,
    blacklist=(_KPROBES_TEXT,),
    refuse_jump_labels=True,
    refuse_static_calls=False,
    refuse_bugs=False,
    refuse_cfi_preambles=False,
    events_ambiguous_errno=None,
    events_unknown_errno="ENOENT",
    refuse_module_twins=False,
    lto_suffix="",
    kretprobe_maxactive="cpus unless preemptible",
    kretprobe_at_entry_only=False,
    kretprobe_unresolved_errno="EINVAL",
    x86=X86Model(
        stepping="trap",
        slot_size=16,
        boost="after a step",
        wide_boost_table=False,
        group_boost=False,
        unboostable_prefixes=frozenset({0x2E, 0x67}),
        int3_ends_walk=True,
        refuse_exception_insns=False,
        refuse_cfi_checks=False,
        ftrace=False,
        refuse_inside_ftrace=False,
        skip_endbr=False,
        vanished="retry if gone",
        syncs=False,
        blacklist=(_ENTRY,),
    ),
    arm64=Arm64Model(
        stepping="trap",
        slot_size=4,
        simulate_nop=False,
        refuse_unknown_hints=False,
        narrow_exclusives=False,
        refuse_mops=False,
        reenter_while_stepping=False,
        nesting_saves_daif=False,
        vanished="retry",
        blacklist=(_ENTRY, _IRQENTRY, _IDMAP, *_HYP),
    ),
)

_4_9 = replace(
    _2_6,
    name="4.9",
    unresolved_errno="ENOENT",
    x86=replace(_2_6.x86, slot_size=15, ftrace=True, refuse_inside_ftrace=True),
)

_4_19 = replace(
    _4_9,
    name="4.19",
    jprobes=False,
    kretprobe_at_entry_only=True,
    x86=replace(_4_9.x86, boost="without post_handler", unboostable_prefixes=frozenset()),
)

_5_4 = replace(
    _4_19,
    name="5.4",
    suffix_rule=True,
    refuse_bugs=True,
    x86=replace(_4_19.x86, blacklist=(_IRQENTRY, _ENTRY)),
)

_5_10 = replace(
    _5_4,
    name="5.10",
    blacklist=(_KPROBES_TEXT, _NOINSTR),
    refuse_static_calls=True,
    x86=replace(_5_4.x86, blacklist=(_ENTRY,), syncs=True),
    arm64=replace(_5_4.arm64, refuse_unknown_hints=True),
)

_5_15 = replace(
    _5_10,
    name="5.15",
    fault_handlers=False,
    kretprobe_unresolved_errno="ENOENT",
    lto_suffix=".",
    x86=replace(
        _5_10.x86,
        stepping="breakpoint",
        boost="when prepared",
        wide_boost_table=True,
        unboostable_prefixes=frozenset({0x2E, 0x67}),
    ),
    arm64=replace(_5_10.arm64, stepping="breakpoint", slot_size=8),
)

_6_1 = replace(
    _5_15,
    name="6.1",
    place_needs_symbol=True,
    kretprobe_maxactive="at least 10",
    events_ambiguous_errno="EADDRNOTAVAIL",
    x86=replace(
        _5_15.x86,
        int3_ends_walk=False,
        refuse_inside_ftrace=False,
        skip_endbr=True,
    ),
    arm64=replace(_5_15.arm64, vanished="report"),
)

_6_6 = replace(
    _6_1,
    name="6.6",
    refuse_cfi_preambles=True,
    lto_suffix=".llvm.",
    x86=replace(_6_1.x86, vanished="report", refuse_cfi_checks=True),
    arm64=replace(_6_1.arm64, refuse_mops=True, blacklist=(_ENTRY, _IRQENTRY, *_HYP)),
)

_6_12 = replace(
    _6_6,
    name="6.12",
    events_ambiguous_errno="EINVAL",
    events_unknown_errno="EINVAL",
    refuse_module_twins=True,
    lto_suffix="",
    x86=replace(_6_6.x86, group_boost=True, refuse_exception_insns=True),
)

_6_13 = replace(_6_12, name="6.13", arm64=replace(_6_12.arm64, simulate_nop=True))

_6_15 = replace(_6_13, name="6.15", arm64=replace(_6_13.arm64, narrow_exclusives=True))

_6_17 = replace(_6_15, name="6.17")

#: By name, oldest first.
MODELS = {
    "2.6": _2_6,
    "4.9": _4_9,
    "4.19": _4_19,
    "5.4": _5_4,
    "5.10": _5_10,
    "5.15": _5_15,
    "6.1": _6_1,
    "6.6": _6_6,
    "6.12": _6_12,
    "6.13": _6_13,
    "6.15": _6_15,
    "6.17": _6_17,
}
DEFAULT_MODEL = _6_1
"""For an image that does not tell its version."""


def known_model(name: str | Model | None) -> Model | None:
    """The model called ``name``, or ``None`` without one; raises :class:`UsageError`."""
    if name is None or isinstance(name, Model):
        return name
    model = MODELS.get(name) if isinstance(name, str) else None
    if model is None:
        raise UsageError(f"model {name!r} is not known: choose one of {', '.join(MODELS)}")
    return model


def model_of(version: tuple[int, ...]) -> Model:
    """The newest model that is not newer than a kernel's ``version``."""
    if not version:
        return DEFAULT_MODEL
    older = [model for model in MODELS.values() if model.version <= version]
    return older[-1] if older else next(iter(MODELS.values()))
