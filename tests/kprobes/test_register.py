"""Registration: what is accepted, what is refused, with the kernel's errno and a reason."""

from __future__ import annotations

import copy
import errno
import json

import pytest
from makers.guest_code import SAMPLES

from kprobesim import (
    CalledKernel,
    Jprobe,
    Kernel,
    Kprobe,
    KprobeError,
    KprobeFlag,
    Kretprobe,
    PtRegs,
    Reason,
    UsageError,
)


def _refused(k: CalledKernel, p: Kprobe) -> KprobeError:
    """Registering ``p`` fails and leaves no trace."""
    text = [k.read(start, end - start) for start, end in k.image.text_ranges]
    used = k.kprobes.slots.used
    with pytest.raises(KprobeError) as caught:
        k.register_kprobe(p)
    assert [k.read(start, end - start) for start, end in k.image.text_ranges] == text
    assert k.kprobes.slots.used == used
    assert isinstance(caught.value, OSError)
    json.dumps(caught.value.as_dict())
    return caught.value


def test_by_symbol_offset_and_address(guest: CalledKernel) -> None:
    symbol = guest.symbols["gcd"]
    offset = 8 if guest.arch == "arm64" else _second_instruction(guest, "gcd")
    for p in (
        Kprobe("gcd"),
        Kprobe("gcd", offset=offset),
        Kprobe(f"gcd+{offset:#x}"),
        Kprobe(addr=symbol.address + offset),
        Kprobe(addr=symbol.address, offset=offset),
    ):
        guest.register_kprobe(p)
        entry = p.addr == symbol.address
        assert bool(p.flags & KprobeFlag.ON_FUNC_ENTRY) == entry
        assert p.addr in (symbol.address, symbol.address + offset)
        guest.unregister_kprobe(p)


def _second_instruction(k: CalledKernel, name: str) -> int:
    with k.probing(name) as p:
        return int(p.ainsn.size)


@pytest.mark.parametrize("probe", [Kprobe(), Kprobe(addr=0, offset=4), Kprobe("strlen", addr=1)])
def test_exactly_one_of_symbol_and_address(guest: CalledKernel, probe: Kprobe) -> None:
    error = _refused(guest, probe)
    assert (error.errno, error.reason) == (errno.EINVAL, Reason.NEITHER_OR_BOTH)


def test_an_address_of_zero_is_none(guest: CalledKernel) -> None:
    with guest.probing("strlen", addr=0) as p:
        assert p.addr == guest.symbols["strlen"].address


def test_an_unknown_symbol_names_the_nearest(guest: CalledKernel) -> None:
    error = _refused(guest, Kprobe("kernel_clon"))
    assert (error.errno, error.reason) == (errno.ENOENT, Reason.UNKNOWN_SYMBOL)
    assert "kernel_clone" in str(error)


def test_an_ambiguous_symbol_lists_the_candidates(guest: CalledKernel) -> None:
    error = _refused(guest, Kprobe("mix"))
    assert (error.errno, error.reason) == (errno.EADDRNOTAVAIL, Reason.AMBIGUOUS_SYMBOL)
    candidates = guest.symbols.candidates("mix")
    assert all(f"{symbol.address:#x}" in str(error) for symbol in candidates)
    with guest.probing(f"mix@{candidates[1].address:#x}") as p:
        assert p.addr == candidates[1].address


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("init_task", Reason.NOT_KERNEL_TEXT),
        ("noprobe_section", Reason.BLACKLISTED),
        ("noinstr_section", Reason.BLACKLISTED),
        ("noprobe_listed", Reason.BLACKLISTED),
        ("noprobe_listed.cold", Reason.BLACKLISTED),
        ("trigger_bug", Reason.BUG_TABLE),
    ],
)
def test_refused_places(guest: CalledKernel, name: str, reason: Reason) -> None:
    error = _refused(guest, Kprobe(name))
    assert (error.errno, error.reason) == (errno.EINVAL, reason)
    assert error.symbol is not None


def test_an_address_of_no_symbol(guest: CalledKernel) -> None:
    error = _refused(guest, Kprobe(addr=0x1000))
    assert (error.errno, error.reason) == (errno.ENOENT, Reason.NO_SYMBOL_AT_ADDRESS)
    assert error.address == 0x1000


def test_addresses_beyond_the_kernels_own(guest: CalledKernel) -> None:
    """``is_kernel()`` of kallsyms: [_stext, _end), whatever else the file has symbols for."""
    assert _refused(guest, Kprobe("_end")).errno == errno.ENOENT
    assert _refused(guest, Kprobe(addr=guest.symbols["_end"].address)).errno == errno.ENOENT
    data = guest.symbols["_end"].address - 1
    assert _refused(guest, Kprobe(addr=data)).reason is Reason.NOT_KERNEL_TEXT


def test_the_middle_of_an_instruction(guest: CalledKernel) -> None:
    error = _refused(guest, Kprobe("kernel_clone", offset=1))
    if guest.arch == "x86_64":
        assert (error.errno, error.reason) == (errno.EILSEQ, Reason.NOT_INSTRUCTION_BOUNDARY)
    else:
        assert (error.errno, error.reason) == (errno.EINVAL, Reason.UNALIGNED)


def test_boundaries_are_those_of_the_unprobed_code(guest: CalledKernel) -> None:
    """A breakpoint on the way does not shift what counts as an instruction."""

    def accepted() -> list[int]:
        offsets = []
        for offset in range(guest.symbols["gcd"].size):
            try:
                with guest.probing("gcd", offset=offset):
                    offsets.append(offset)
            except KprobeError:
                continue
        return offsets

    alone = accepted()
    with guest.probing("gcd"):
        assert accepted() == alone


def test_registered_twice(guest: CalledKernel) -> None:
    p = Kprobe("strlen")
    guest.register_kprobe(p)
    with pytest.raises(KprobeError) as caught:
        guest.register_kprobe(p)
    assert caught.value.errno == errno.EINVAL
    assert caught.value.reason is Reason.ALREADY_REGISTERED


def test_unregistering_what_is_not_registered(guest: CalledKernel) -> None:
    for p in (Kprobe("strlen"), Kprobe(addr=5)):
        with pytest.raises(KprobeError) as caught:
            guest.unregister_kprobe(p)
        assert caught.value.reason is Reason.NOT_REGISTERED
        assert p.addr is None


def test_each_unknown_probe_of_a_batch_loses_its_address(guest: CalledKernel) -> None:
    known, unknown = Kprobe("strlen"), [Kprobe(addr=5), Kprobe(addr=6)]
    guest.register_kprobe(known)
    with pytest.raises(KprobeError) as caught:
        guest.unregister_kprobes([unknown[0], known, unknown[1]])
    assert (caught.value.reason, caught.value.address) == (Reason.NOT_REGISTERED, 5)
    assert [p.addr for p in unknown] == [None, None]
    assert known.addr and known not in guest.kprobes


def test_a_struct_is_used_again_after_clearing_addr(guest: CalledKernel) -> None:
    hits: list[object] = []
    p = Kprobe("strlen", pre_handler=lambda *a: hits.append(a))
    for _ in range(2):
        guest.register_kprobe(p)
        guest.call("strlen", "x")
        guest.unregister_kprobe(p)
        assert p.addr is not None
        with pytest.raises(KprobeError) as caught:
            guest.register_kprobe(p)
        assert caught.value.reason is Reason.NEITHER_OR_BOTH
        assert p.disabled
        p.addr = None
        p.flags = KprobeFlag(0)
    assert len(hits) == 2


def test_a_disabled_probe_is_not_armed(guest: CalledKernel) -> None:
    text = guest.read(guest.symbols["strlen"].address, 8)
    p = Kprobe("strlen", pre_handler=lambda *a: pytest.fail("fired"), flags=KprobeFlag.DISABLED)
    guest.register_kprobe(p)
    assert guest.read(guest.symbols["strlen"].address, 8) == text
    assert guest.call("strlen", "abc") == 3
    guest.unregister_kprobe(p)


def test_a_batch_is_all_or_nothing(guest: CalledKernel) -> None:
    good, bad = Kprobe("strlen"), Kprobe("no_such_function")
    with pytest.raises(KprobeError):
        guest.register_kprobes([good, bad])
    assert len(guest.kprobes) == 0
    with pytest.raises(UsageError):
        guest.register_kprobes([Kprobe("strcmp"), Kprobe("strlen", offset="4")])  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        guest.register_kretprobes([Kretprobe("strcmp"), Kretprobe("strlen", maxactive=1 << 40)])
    with pytest.raises(UsageError):
        guest.register_jprobes([Jprobe("strcmp", print), Jprobe("strlen")])
    assert len(guest.kprobes) == 0
    both = [Kprobe("strlen"), Kprobe("strcmp")]
    guest.register_kprobes(both)
    assert list(guest.kprobes) == both
    guest.unregister_kprobes(both)


def test_slots_are_used_again(stepped: CalledKernel) -> None:
    slots = set()
    for _ in range(5):
        with stepped.probing("kprobe_target", post_handler=lambda *a: None) as p:
            slots.add(p.ainsn.insn)
    assert len(slots) == 1


def test_boosted_slots_are_not_used_again_at_once() -> None:
    """Somebody may be on the way through the copy; a full page is time enough."""
    k = Kernel.load(SAMPLES / "guest-x86_64.elf", model="6.1")
    per_page, slots = k.kprobes.slots.per_page, []
    for _ in range(per_page + 2):
        with k.probing("strlen") as p:
            assert p.ainsn.boostable
            slots.append(p.ainsn.insn)
    assert len(set(slots)) == per_page
    assert slots[per_page:] == slots[:2]


def test_pages_of_slots_come_and_go(with_breakpoints: CalledKernel) -> None:
    guest = with_breakpoints
    slots, start = guest.kprobes.slots, guest.symbols["strlen"].address
    first = None
    for _ in range(2):
        probes = [Kprobe(addr=start, post_handler=lambda *a: None)]
        guest.register_kprobe(probes[0])
        first = first or probes[0].ainsn.insn
        assert probes[0].ainsn.insn == first
        taken = [slots.get(collect=True) for _ in range(slots.per_page)]
        assert guest.machine.memory.region(taken[-1]) is not None
        assert guest.call("strlen", "abc") == 3
        for slot in taken:
            slots.free(slot, dirty=False)
        assert taken[-1] not in slots
        assert guest.machine.memory.region(taken[-1]) is None
        guest.unregister_kprobes(probes)


def test_other_types_are_refused(guest: CalledKernel) -> None:
    for wrong in (
        Kprobe(5),  # type: ignore[arg-type]
        Kprobe(addr="strlen"),  # type: ignore[arg-type]
        Kprobe("strlen", offset="4"),  # type: ignore[arg-type]
        Kprobe("strlen", offset=None),  # type: ignore[arg-type]
        Kprobe("strlen", offset=1 << 32),
        Kprobe("\ud800", addr=1 << 64),
    ):
        with pytest.raises(UsageError):
            guest.register_kprobe(wrong)
    with pytest.raises(UsageError, match="pre_handler"):
        Kprobe("strlen", pre_handler="print")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="flags"):
        Kprobe("strlen", flags=None)  # type: ignore[arg-type]
    for wrong_place in ({"symbol_name": 5}, {"addr": "strlen"}, {"addr": 1, "slot_at": "0"}):
        with pytest.raises(UsageError):
            guest.check(**wrong_place)
    with pytest.raises(UsageError, match="Kprobe"):
        guest.register_kprobe("strlen")  # type: ignore[arg-type]
    for what in ("kprobes", "kretprobes", "jprobes"):
        for how in ("register", "unregister"):
            with pytest.raises(UsageError, match="give a list of"):
                getattr(guest, f"{how}_{what}")(5)
    with pytest.raises(UsageError, match="priority"):
        guest.register_die_notifier(lambda *a: 0, priority="high")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "\ud800", "strlen\0", "+4"])
def test_names_that_no_symbol_can_have(guest: CalledKernel, name: str) -> None:
    error = _refused(guest, Kprobe(name))
    assert (error.errno, error.reason) == (errno.ENOENT, Reason.UNKNOWN_SYMBOL)


@pytest.mark.parametrize("offset", ["", "-1", "four", "0x100000000", "4294967296"])
def test_offsets_in_a_name_that_are_none(guest: CalledKernel, offset: str) -> None:
    error = _refused(guest, Kprobe(f"strlen+{offset}"))
    assert error.errno == errno.EINVAL
    assert "write symbol+0x10" in str(error)


def test_traced_functions_begin_with_ftraces_nop(guest: CalledKernel) -> None:
    """As on a running kernel: a 5-byte NOP, or mov x9, x30 and a NOP."""
    code = guest.read(guest.symbols["kernel_clone"].address, 8)
    if guest.arch == "x86_64":
        assert code[:5] == bytes.fromhex("0f1f440000")
    else:
        assert code == bytes.fromhex("e9031eaa1f2003d5")


def test_a_jump_label_is_refused(guest: CalledKernel) -> None:
    symbol = guest.symbols["static_branch"]
    inside = range(symbol.address, symbol.address + symbol.size)
    labels = [address for address in inside if address in guest.image.jump_labels]
    assert labels
    for address in labels[:: 1 if guest.arch == "x86_64" else 4]:
        error = _refused(guest, Kprobe(addr=address))
        assert (error.errno, error.reason) == (errno.EINVAL, Reason.JUMP_LABEL)


def test_ftraces_place_behind_an_arm64_entry_is_refused(guest: CalledKernel) -> None:
    """x86-64 probes it through ftrace; there it is the entry itself."""
    entry = guest.symbols["kernel_clone"].address
    if guest.arch == "x86_64":
        assert entry in guest.image.ftrace_sites
        with guest.probing("kernel_clone"):
            return
    error = _refused(guest, Kprobe("kernel_clone", offset=4))
    assert (error.errno, error.reason) == (errno.EINVAL, Reason.FTRACE_SITE)


def test_a_registered_probe_is_not_moved(guest: CalledKernel) -> None:
    """The kernel lets a handler write ``p->addr``, and then looks for the probe elsewhere."""
    errors: list[UsageError] = []
    place = guest.symbols["kprobe_target"].address
    code = guest.read(place, 4)

    def move(p: Kprobe, regs: PtRegs) -> None:
        try:
            p.addr = place + 64
        except UsageError as error:
            errors.append(error)

    p, other = Kprobe("kprobe_target", pre_handler=move), Kprobe("kprobe_target")
    guest.register_kprobe(p)
    guest.register_kprobe(other)
    assert guest.call("kprobe_target", 21) == 7
    assert (p.addr, p.registered_at) == (place, place)
    assert "unregister it before you move it" in str(errors[0])
    clone = copy.deepcopy(p)
    clone.addr = place + 64  # nobody has registered that one
    p.addr = place  # as it is
    guest.unregister_kprobes([p, other])
    assert list(guest.kprobes) == [] and p.registered_at is None
    assert guest.read(place, 4) == code
    p.addr = None
    p.flags = KprobeFlag(0)
    guest.register_kprobe(p)
    assert p.addr == place
