"""All answers that a real kernel gave, against ours.

The tables were recorded from Debian's 6.1.0-56 cloud kernels, and hold for them alone.
KPROBESIM_TABLES names their folder, KPROBESIM_KERNEL_X86_64 and KPROBESIM_KERNEL_ARM64 the kernels
unless they have been fetched.
"""

from __future__ import annotations

import csv
import lzma
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from kprobesim import CalledKernel, Kprobe, KprobeFlag, Kretprobe
from kprobesim.arch.x86_64.detour import detour
from kprobesim.kprobes.rules.verdict import Verdict
from kprobesim.patching.running_text import running_text

RELEASE = {"x86_64": "6.1.0-56-cloud-amd64", "arm64": "6.1.0-56-cloud-arm64"}
TEXT_BASE = {"x86_64": 0xFFFF_FFFF_8100_0000, "arm64": 0xFFFF_8000_0801_0000}
EMULATED = {
    "kprobe_emulate_jcc": {"jcc"},
    "kprobe_emulate_call": {"call"},
    "kprobe_emulate_jmp": {"jmp"},
    "kprobe_emulate_ret": {"ret"},
    "kprobe_emulate_ifmodifiers": {"cli", "sti", "push_flags", "pop_flags"},
    "": {None},
}
KNOWN_GAP = 0.0002
"""Share of the ARM64 text that differs: where KVM's own code lies is drawn by lot while booting."""


class Recorded:
    """One architecture's tables and its kernel."""

    def __init__(self, kernel: CalledKernel, folder: Path) -> None:
        self.kernel = kernel
        self.folder = folder

    def rows(self, name: str) -> Iterator[dict[str, str]]:
        with (self.folder / f"{name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert rows
        for row in rows:
            # Of modules that were loaded; only the package has them.
            if ":" not in row["symbol"] or self.has_modules:
                yield row

    @property
    def callback(self) -> int:
        """What the kernel's detours call."""
        return self.kernel.symbols["optimized_callback"].address

    @property
    def has_modules(self) -> bool:
        return self.kernel.image.container.startswith("Debian package")

    def event(self, row: dict[str, str], *, kretprobe: bool = False) -> int:
        module, colon, _ = row["symbol"].partition(":")
        assert not colon or self.kernel.modules.bring(module), module
        return self.kernel.check(
            row["symbol"],
            offset=int(row["offset"], 16),
            events=True,
            kretprobe=kretprobe,
            suggest=False,
        ).errno


@pytest.fixture(scope="module")
def recorded(real_kernel: CalledKernel) -> Iterator[Recorded]:
    folder = Path(os.environ.get("KPROBESIM_TABLES", ""))
    folder /= {"x86_64": "amd64", "arm64": "arm64"}[real_kernel.arch]
    if not folder.is_dir():
        pytest.skip("set KPROBESIM_TABLES to the folder with a kernel's recorded answers")
    if real_kernel.image.release != RELEASE[real_kernel.arch]:
        pytest.skip(f"recorded from {RELEASE[real_kernel.arch]}, not {real_kernel.image.release}")
    yield Recorded(real_kernel, folder)
    for module in reversed(list(real_kernel.modules)):
        real_kernel.unload_module(module.name)


def test_events_in_modules(recorded: Recorded) -> None:
    if not recorded.has_modules:
        pytest.skip("this kernel is not in a package with modules")
    rows = [row for row in recorded.rows("errno_table") if ":" in row["symbol"]]
    assert len(rows) == {"x86_64": 72, "arm64": 36}[recorded.kernel.arch]
    answers = [(row, recorded.event(row)) for row in rows]
    assert [(row, got) for row, got in answers if got != int(row["errno"])] == []


def test_every_address_that_a_module_probed(recorded: Recorded) -> None:
    differing = []
    for row in recorded.rows("register_kprobe_direct"):
        answer = recorded.kernel.check(addr=int(row["addr"], 16), suggest=False)
        if answer.errno != -int(row["ret"]):
            differing.append((row, answer.errno, answer.reason))
    assert differing == []


@pytest.mark.parametrize("table", ["errno_table", "errno_kinds"])
def test_every_event(recorded: Recorded, table: str) -> None:
    answers = [(row, recorded.event(row)) for row in recorded.rows(table)]
    assert [(row, got) for row, got in answers if got != int(row["errno"])] == []


def test_every_return_event(recorded: Recorded) -> None:
    rows = recorded.rows("errno_return_probes")
    answers = [(row, recorded.event(row, kretprobe=True)) for row in rows]
    assert [(row, got) for row, got in answers if got != int(row["errno"])] == []


def test_every_slot(recorded: Recorded) -> None:
    compare = {"x86_64": x86_slot, "arm64": arm64_slot}[recorded.kernel.arch]
    differing = []
    for row in recorded.rows("slots"):
        slot = int(row["slot_addr"], 16) or None
        answer = recorded.kernel.check(addr=int(row["addr"], 16), slot_at=slot)
        differing += [(row["symbol"], row["offset"], what) for what in compare(row, answer)]
    assert differing == []


def x86_slot(row: dict[str, str], answer: Verdict) -> Iterator[str]:
    ftrace = bool(int(row["kp_flags"], 16) & 8)
    if answer.kind != ("ftrace" if ftrace else "int3"):
        yield "kind"
    if ftrace:
        return
    if (answer.slot or b"").hex() != row["slot_bytes_16"][: 2 * int(row["tp_len"])]:
        yield "slot"
    if (answer.original or b"").hex() != row["text_before_16"][: 2 * int(row["insn_size"])]:
        yield "instruction"
    if answer.emulated not in EMULATED[row["emulate_op"]]:  # type: ignore[operator]
        yield "emulation"
    if answer.boostable is not (row["boostable"] == "1"):
        yield "boost"
    if answer.optimizable is not bool(row["optinsn_size"]):
        yield "optimisation"


def arm64_slot(row: dict[str, str], answer: Verdict) -> Iterator[str]:
    if (answer.slot or b"").hex() != row["slot_bytes_8"]:
        yield "slot"
    if (answer.original or b"").hex() != row["text_before_4"]:
        yield "instruction"
    if answer.emulated != (row["handler"].removeprefix("simulate_") or None):
        yield "simulation"


def test_every_state(recorded: Recorded) -> None:
    differing = []
    for row in recorded.rows("state_table"):
        answer = recorded.kernel.check(row["symbol"], offset=int(row["offset"], 16))
        state = "FTRACE" if answer.kind == "ftrace" else "plain"
        if answer.optimizable:
            state = "OPTIMIZED"
        if state != row["state"]:
            differing.append((row["symbol"], row["offset"], row["state"], state))
    assert differing == []


def test_every_detour(recorded: Recorded) -> None:
    """The buffers of optimised probes, and the jumps to them."""
    if recorded.kernel.arch == "arm64":
        pytest.skip("there are none")
    differing, compared = [], 0
    for row in recorded.rows("slots"):
        if not row["optinsn_size"]:
            continue
        compared += 1
        address, buffer = int(row["addr"], 16), int(row["optinsn_addr"], 16)
        recorded_code = bytes.fromhex(row["optinsn_buf_160"])
        size = recorded.kernel.kprobes.rules.optimizable.size(address)
        read, callback = recorded.kernel.kprobes.read_original, recorded.callback
        made = detour(read, address, size, buffer, callback)
        probe = made.code.index(address.to_bytes(8, "little"))  # the kernel has a struct there
        same = slice(0, probe), slice(probe + 8, len(made.code))
        if (
            size != int(row["optinsn_size"])
            or any(made.code[part] != recorded_code[part] for part in same)
            or made.jump != bytes.fromhex(row["text_armed_16"])[:5]
        ):
            differing.append((row["symbol"], row["offset"]))
    assert compared and differing == []


@pytest.mark.parametrize("name", ["sample_interplay", "sample_interplay_removed"])
def test_interplay_of_optimised_probes(recorded: Recorded, name: str) -> None:
    """The same definitions and switches, and debugfs' list after each."""
    if recorded.kernel.arch == "arm64":
        pytest.skip("there are none")
    k = recorded.kernel
    probes: dict[str, Kprobe | Kretprobe] = {}
    lists: list[str] = []
    lines = (recorded.folder / "samples" / f"{name}.txt").read_text().splitlines()
    for line in lines:
        if defined := re.match(r"DEF: ([pr]):s/(\w+) (\S+)", line):
            kind, event, place = defined.groups()
            if kind == "p":
                p = probes[event] = Kprobe(place, flags=KprobeFlag.DISABLED)
                k.register_kprobe(p)
            else:
                rp = probes[event] = Kretprobe(place)
                k.register_kretprobe(rp)
                k.disable_kretprobe(rp)
        elif removed := re.match(r"DEF: -:s/(\w+)", line):
            k.unregister_kprobe(probes.pop(removed[1]))  # type: ignore[arg-type]
        elif listed := re.match(r"LIST\((?!defined|removed)([+-]?)(\w+)", line):
            sign, name = listed.groups()
            for p in [probes[name]] if sign else probes.values() if name == "disabled" else []:  # type: ignore[assignment]
                _switch(k, p, on=sign == "+")
            k.kprobes.wait_for_optimizer()
            lists.append(k.kprobes.list())
    for p in probes.values():  # type: ignore[assignment]
        _unregister(k, p)
    text = "\n".join(lines) + "\n"
    expected = re.findall(r"^LIST\((?!removed|defined).*\):\n((?:f.*\n)*)", text, re.M)
    assert lists == expected


def _switch(k: CalledKernel, p: Kprobe | Kretprobe, *, on: bool) -> None:
    if isinstance(p, Kretprobe):
        (k.enable_kretprobe if on else k.disable_kretprobe)(p)
    else:
        (k.enable_kprobe if on else k.disable_kprobe)(p)


def _unregister(k: CalledKernel, p: Kprobe | Kretprobe) -> None:
    if isinstance(p, Kretprobe):
        k.unregister_kretprobe(p)
    else:
        k.unregister_kprobe(p)


def test_the_blacklist(recorded: Recorded) -> None:
    text = (recorded.folder / "blacklist.txt").read_text()
    assert recorded.kernel.kprobes.blacklist() == text


def test_the_whole_text(recorded: Recorded) -> None:
    image = recorded.kernel.image
    live = lzma.decompress((recorded.folder / "text.bin.xz").read_bytes())
    base = TEXT_BASE[image.arch]
    live = live[: image.text_ranges[0][1] - base]
    ours = running_text(image).read(base, len(live))
    differing = sum(a != b for a, b in zip(ours, live, strict=True))
    assert differing <= (KNOWN_GAP * len(live) if image.arch == "arm64" else 0)
