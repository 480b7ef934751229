"""Modules in the sample guests: loaded, called, probed, unloaded."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import pytest

from kprobesim import (
    CalledKernel,
    GuestFault,
    ImageError,
    Kernel,
    Kprobe,
    KprobeError,
    Reason,
    SymbolError,
    UsageError,
)

NAME, CLIENT = "kprobesim_sample", "kprobesim_client"


@pytest.fixture
def folder(sample: Path) -> Path:
    return sample.parent


@pytest.fixture
def ko(folder: Path, arch: str) -> Path:
    """The sample module."""
    return folder / f"module-{arch}.ko"


@pytest.fixture
def client(folder: Path, arch: str) -> Path:
    """A module that depends on it."""
    return folder / f"client-{arch}.ko"


def test_functions_can_be_called(guest: CalledKernel, ko: Path) -> None:
    module = guest.load_module(ko)
    assert (module.name, module.state.value) == (NAME, "coming")
    assert guest.modules[NAME] is module and list(guest.modules) == [module]
    assert guest.call("sample_add", 2, 3) == 5
    assert guest.call(f"{NAME}:sample_add", 2, 3) == 5
    assert guest.call(module["sample_count"]) == 2
    assert guest.call("sample_crc", b"123456789", 9) == zlib.crc32(b"123456789")


def test_per_cpu_variables_are_the_modules_own(guest: CalledKernel, ko: Path) -> None:
    guest.load_module(ko)
    assert [guest.call("sample_percpu") for _ in range(3)] == [6, 7, 8]


def test_text_is_patched(guest: CalledKernel, ko: Path) -> None:
    module = guest.load_module(ko)
    assert guest.call("sample_alternative") == 2
    assert guest.call("sample_branch") == 2
    code = guest.read(module["sample_add"].address, module["sample_add"].size)
    if guest.arch == "x86_64":
        assert code.startswith(bytes.fromhex("0f1f440000"))  # not call __fentry__
        assert b"\x3e\x48\xff" in code and b"\xf0\x48\xff" not in code  # ds inc, not lock inc
    else:
        assert code[:8] == bytes.fromhex("e9031eaa1f2003d5")  # mov x9, x30; nop


def test_tables_of_the_module_count(guest: CalledKernel, ko: Path) -> None:
    guest.load_module(ko)
    assert guest.call("sample_read", b"x") == ord("x")
    assert guest.call("sample_read", 8) == (-14) % 2**32
    assert guest.call("sample_warn", 3) == 4
    (warning,) = guest.warnings
    assert (warning.file, warning.line) == ("samples/module/sample.c", 77)
    assert warning.place.startswith("sample_warn+0x") and warning.place.endswith(f" [{NAME}]")


def test_symbols_are_named_with_their_module(guest: CalledKernel, ko: Path) -> None:
    before = len(guest.symbols)
    module = guest.load_module(ko)
    symbol = guest.symbols["sample_add"]
    assert symbol == module["sample_add"] == guest.symbols[f"{NAME}:sample_add"]
    assert symbol.module == NAME and symbol.is_function
    assert str(guest.symbols.at(symbol.address + 4)).endswith(f" [{NAME}]")
    assert symbol in list(guest.symbols) and len(guest.symbols) > before
    assert guest.symbols["strlen"].module == ""
    for name in ("nothing:sample_add", f"{NAME}:strlen", f"{NAME}:sample_ad"):
        with pytest.raises(SymbolError):
            guest.symbols[name]
    guest.unload_module(NAME)
    assert "sample_add" not in guest.symbols and len(guest.symbols) == before


def test_probes_in_a_module(stepped: CalledKernel, ko: Path) -> None:
    """On every instruction that takes one; and what they change, nothing."""
    module = stepped.load_module(ko)
    seen: list[int] = []

    def pre(p: Kprobe, regs: Any) -> None:
        seen.append(p.addr or 0)

    calls = [("sample_crc", b"123456789", 9), ("sample_add", 40, 2), ("sample_percpu",)]
    calls += [("sample_warn", 1), ("sample_read", 8), ("sample_branch",), ("sample_alternative",)]
    expected = [stepped.call(*call) for call in calls]  # type: ignore[arg-type]
    probes = []
    for name, *_ in calls:
        symbol = module[name]  # type: ignore[index]
        for offset in range(symbol.size):
            try:
                stepped.register_kprobe(
                    p := Kprobe(f"{NAME}:{name}", offset=offset, pre_handler=pre)
                )
            except KprobeError:
                continue
            probes.append(p)
    got = [stepped.call(*call) for call in calls]  # type: ignore[arg-type]
    assert got[:2] == expected[:2] and got[3:] == expected[3:]
    assert got[2] == expected[2] + 1  # it counts
    assert {module[name].address for name, *_ in calls} <= set(seen) and len(seen) > len(probes) / 2  # type: ignore[index]
    stepped.unregister_kprobes(probes)
    assert stepped.kprobes.slots.used == 0


@pytest.mark.parametrize("name", ["sample_listed", "sample_in_section", "sample_noinstr"])
def test_what_a_module_forbids(guest: CalledKernel, ko: Path, name: str) -> None:
    before = guest.kprobes.blacklist()
    guest.load_module(ko)
    with pytest.raises(KprobeError) as refused:
        guest.register_kprobe(Kprobe(name))
    assert refused.value.reason is Reason.BLACKLISTED
    assert guest.kprobes.blacklist().startswith(before)
    assert f"\t{name}\n" in guest.kprobes.blacklist()
    guest.unload_module(NAME)
    assert guest.kprobes.blacklist() == before


def test_probes_are_gone_with_their_module(guest: CalledKernel, ko: Path) -> None:
    guest.load_module(ko)
    hits: list[str] = []
    p = Kprobe("sample_add", pre_handler=lambda p, regs: hits.append("old"))
    guest.register_kprobe(p)
    address = p.addr or 0
    tag = "[FTRACE]" if guest.arch == "x86_64" else ""
    assert guest.kprobes.list() == f"{address:016x}  k  sample_add+0x0  {NAME} {tag}\n"
    guest.unload_module(NAME)
    assert guest.kprobes.list() == f"{address:016x}  k  {address:#018x} [GONE]{tag}\n"
    with pytest.raises(KprobeError) as refused:
        guest.enable_kprobe(p)
    assert refused.value.reason is Reason.GONE
    with pytest.raises(SymbolError):
        guest.call("sample_add", 1, 2)

    assert guest.load_module(ko)["sample_add"].address == address
    assert guest.call("sample_add", 1, 2) == 3 and hits == []
    assert guest.kprobes.list() == f"{address:016x}  k  sample_add+0x0  {NAME} [GONE]{tag}\n"
    new = Kprobe("sample_add", pre_handler=lambda p, regs: hits.append("new"))
    guest.register_kprobe(new)
    assert guest.call("sample_add", 1, 2) == 3 and hits == ["new"]
    guest.unregister_kprobes([p, new])
    assert guest.kprobes.list() == "" and guest.kprobes.slots.used == 0
    assert guest.call("sample_add", 1, 2) == 3 and hits == ["new"]


def test_a_gone_probe_can_be_unregistered(guest: CalledKernel, ko: Path) -> None:
    guest.load_module(ko)
    p = Kprobe("sample_crc", offset=8 if guest.arch == "arm64" else 5)
    guest.register_kprobe(p)
    guest.unload_module(NAME)
    guest.unregister_kprobe(p)
    assert len(guest.kprobes) == 0 and guest.kprobes.slots.used == 0


def test_memory_is_given_back(guest: CalledKernel, ko: Path) -> None:
    guest.call("gcd", 4, 6)  # the first call takes a stack
    regions = list(guest.machine.memory.regions)
    module = guest.load_module(ko)
    frames = guest.machine.memory.next_frame
    for _ in range(3):
        guest.unload_module(NAME)
        assert guest.machine.memory.regions == regions
        with pytest.raises(UsageError, match="not code"):
            guest.call(module["sample_add"], 1, 2)
        guest.load_module(ko)
        assert guest.call("sample_count") == 0
    assert guest.machine.memory.next_frame == frames


def test_init_sections_go_when_it_is_live(guest: CalledKernel, ko: Path) -> None:
    module = guest.load_module(ko)
    p = Kprobe("init_module")
    guest.register_kprobe(p)
    assert guest.call(f"{NAME}:init_module") == 0
    assert guest.call("sample_set_limit", 8) == 8  # constant after init only
    guest.module_live(NAME)
    assert module.state.value == "live"
    assert "[GONE]" in guest.kprobes.list()
    assert not guest.check("init_module") and guest.check("init_module").errno == 2
    assert guest.check(addr=p.addr).errno == 2
    with pytest.raises(GuestFault) as fault:
        guest.call("sample_set_limit", 9)
    assert fault.value.place.startswith("sample_set_limit+0x")
    assert guest.call("sample_add", 1, 1) == 2
    with pytest.raises(UsageError, match="live, not coming"):
        guest.module_live(NAME)


def test_init_functions_on_request(guest: CalledKernel, ko: Path, client: Path) -> None:
    assert guest.load_module(ko, init=True).state.value == "live"
    with pytest.raises(UsageError, match="-ENODEV"):
        guest.load_module(client, init=True)
    assert CLIENT not in guest.modules
    assert guest.call("sample_add", 1, 1) == 2


def test_init_functions_of_dependencies(guest: CalledKernel, ko: Path, client: Path) -> None:
    guest.modules.offer(ko)
    with pytest.raises(UsageError, match="-ENODEV"):
        guest.load_module(client, init=True)
    assert [module.name for module in guest.modules] == [NAME]
    # What only its init function sets.
    limit = guest.modules[NAME]["sample_limit"].address
    assert int.from_bytes(guest.read(limit, 8), "little") == 100


def test_dependencies(guest: CalledKernel, ko: Path, client: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=f"depends on the module {NAME}"):
        guest.load_module(client)
    assert len(guest.modules) == 0
    guest.load_module(ko)
    guest.load_module(client)
    assert guest.call("client_square", 12) == 144
    assert guest.call("sample_count") == 12
    with pytest.raises(UsageError, match=f"used by {CLIENT}"):
        guest.unload_module(NAME)
    guest.unload_module(CLIENT)
    guest.unload_module(NAME)

    (tmp_path / "kprobesim-sample.ko").write_bytes(ko.read_bytes())
    (tmp_path / "client.ko").write_bytes(client.read_bytes())
    guest.load_module(tmp_path / "client.ko")
    assert [module.name for module in guest.modules] == [NAME, CLIENT]
    assert guest.modules[NAME].state.value == "live"


def test_a_name_of_several_is_ambiguous(guest: CalledKernel, ko: Path, client: Path) -> None:
    guest.load_module(ko)
    guest.load_module(client)
    with pytest.raises(KprobeError) as refused:
        guest.register_kprobe(Kprobe("init_module"))
    assert refused.value.reason is Reason.AMBIGUOUS_SYMBOL
    guest.register_kprobe(Kprobe(f"{CLIENT}:init_module"))
    assert guest.call(f"{CLIENT}:init_module", signed=True) & 0xFFFFFFFF == (-19) % 2**32


def test_not_while_the_guest_runs(guest: CalledKernel, ko: Path) -> None:
    guest.load_module(ko)

    def pre(p: Kprobe, regs: Any) -> None:
        guest.unload_module(NAME)

    with (
        guest.probing("sample_add", pre_handler=pre),
        pytest.raises(UsageError, match="between two calls"),
    ):
        guest.call("sample_add", 1, 2)
    assert guest.call("sample_add", 1, 2) == 3


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda k, ko: k.load_module(ko), "loaded already"),
        (lambda k, ko: k.load_module("nothing"), "nothing"),
        (lambda k, ko: k.load_module(7), "give its name"),
        (lambda k, ko: k.unload_module("nothing"), "no module nothing"),
        (lambda k, ko: k.load_module(str(ko) + ".not"), "cannot be read"),
    ],
)
def test_wrong_use(guest: CalledKernel, ko: Path, use: Any, words: str) -> None:
    guest.load_module(ko)
    with pytest.raises((UsageError, ImageError), match=words):
        use(guest, ko)
    assert [module.name for module in guest.modules] == [NAME]


def test_an_event_waits_for_its_module(guest: CalledKernel, ko: Path) -> None:
    waiting = guest.check(f"{NAME}:sample_add", events=True)
    assert waiting and waiting.reason is Reason.MODULE_NOT_LOADED
    refused = guest.check(f"{NAME}:sample_add")
    assert (refused.errno, refused.reason) == (2, Reason.MODULE_NOT_LOADED)
    guest.load_module(ko)
    for events in (True, False):
        verdict = guest.check(f"{NAME}:sample_add", events=events)
        assert verdict and verdict.reason is None and verdict.address
    untraced = guest.check(f"{NAME}:sample_noinstr", events=True)
    assert (untraced.errno, untraced.reason) == (22, Reason.NOT_TRACEABLE)
    assert guest.check(f"{NAME}:nothing", events=True).errno == 2


def test_far_from_the_kernel(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ARM64 branches that do not reach go by way of a veneer."""
    kernel = Kernel.load(folder / "guest-arm64.elf")
    place = kernel.modules._place
    monkeypatch.setattr(
        kernel.modules,
        "_place",
        lambda size, start=0: max(start, kernel.image.segments[-1].end + (512 << 20)) & -4096,
    )
    module = kernel.load_module(folder / "module-arm64.ko")
    assert module.address - kernel.symbols["crc32_le"].address > 256 << 20
    assert kernel.call("sample_crc", b"123456789", 9) == zlib.crc32(b"123456789")
    monkeypatch.setattr(kernel.modules, "_place", place)
    kernel.load_module(folder / "client-arm64.ko")
    assert kernel.call("client_square", 5) == 25


@pytest.mark.parametrize(
    ("image", "module", "order"),
    [
        ("boot/vmlinuz", "lib/modules/{release}/kernel/{name}.ko", ""),
        ("usr/lib/debug/boot/vmlinux", "usr/lib/modules/{release}/{name}.ko", ""),
        ("vmlinux", "drivers/{name}.ko", "drivers/{name}.o\ndrivers/not-built.o\n"),
        ("vmlinux", "drivers/{name}.ko", "drivers/{name}.ko\n"),
    ],
)
def test_modules_are_found_beside_the_kernel(
    sample: Path, ko: Path, tmp_path: Path, image: str, module: str, order: str
) -> None:
    kernel = tmp_path / image
    place = tmp_path / module.format(release=Kernel.load(sample).version, name=NAME)
    for path, data in ((kernel, sample.read_bytes()), (place, ko.read_bytes())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    if order:
        (tmp_path / "modules.order").write_text(order.format(name=NAME))
    k = Kernel.load(kernel)
    assert NAME in k.modules.available()
    k.load_module(NAME)
    assert k.call(f"{NAME}:sample_add", 2, 3) == 5
    with pytest.raises(ImageError, match="no module nonesuch is beside it"):
        k.load_module("nonesuch")


def test_a_module_for_the_other_architecture(guest: CalledKernel, folder: Path) -> None:
    other = "arm64" if guest.arch == "x86_64" else "x86_64"
    for take in (guest.load_module, guest.modules.offer):
        with pytest.raises(ImageError, match=f"is a module for {other}; the kernel is"):
            take(folder / f"module-{other}.ko")


def test_a_module_for_another_kernel(guest: CalledKernel, ko: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.ko"
    other.write_bytes(ko.read_bytes().replace(b"vermagic=6.1.0", b"vermagic=6.1.9"))
    with pytest.raises(ImageError, match=r"built for another kernel: its vermagic is '6\.1\.9"):
        guest.load_module(other)
