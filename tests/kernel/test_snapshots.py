"""A booted kernel goes through a file and goes on as if nothing had been."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers.arm64_code import bare_guest, say
from makers.boots import Boots

from kprobesim import (
    MODELS,
    BootedKernel,
    Kernel,
    Kprobe,
    KprobesimError,
    SnapshotError,
    Stop,
    UsageError,
)
from kprobesim.boot.boards import board_class
from kprobesim.image import KernelImage, Segment
from kprobesim.kernel.snapshots import describe
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.snapshot.container import read_container, write_container
from kprobesim.snapshot.packing import pack_value, unpack_value

MEMORY = 16 << 20
ENDS = (Stop.POWER_OFF, Stop.HALT)
# mov dx, 0x3f8; mov al, 'h'; out dx, al; mov al, 'i'; out dx, al; 1: inc ebx; mov [0x500000], ebx
X86_GUEST = "66baf803 b068ee b069ee ffc3 891c2500005000 ebf5"
# 1: add x2, x2, #1; str w2, [x3]; b 1b
ARM64_GUEST = [*say("hi"), 0xD2A8_0A03, 0x9100_0442, 0xB900_0062, 0x17FF_FFFE]


def bare_kernel(arch: str) -> BootedKernel:
    """Prints "hi" and counts for ever, in a register and in memory."""
    if arch == "arm64":
        image = bare_guest(ARM64_GUEST)
    else:
        code = memoryview(bytes.fromhex(X86_GUEST))
        segment = Segment(
            0xFFFF_FFFF_8100_0000, 0x100_0000, code, 0x1000, True, True, True, "LOAD#0"
        )
        image = KernelImage(
            Path("tiny"), arch, "test", 0x100_0000, [segment], read_columns=lambda image: None
        )
    memory = MEMORY if arch == "arm64" else 4 * MEMORY
    return BootedKernel(image, board_class(arch)(image, initrd=None, append="", memory=memory))


def state(k: BootedKernel) -> tuple[Any, ...]:
    return k.time, k.console.text, k.machine.regs.as_dict(), bytes(k.board.ram)


def test_a_guest_goes_on_exactly(arch: str, tmp_path: Path) -> None:
    k = bare_kernel(arch)
    k.run(seconds=0.001)
    k.snapshot(tmp_path / "a.kps")
    other = Kernel.resume(tmp_path / "a.kps")
    assert other.arch == arch
    assert state(other) == state(k)
    assert k.console.text == "hi"
    for each in (k, other):
        assert each.run(seconds=0.001).kind is Stop.SECONDS
    assert state(other) == state(k)
    other.snapshot(tmp_path / "b.kps")
    third = Kernel.resume(tmp_path / "b.kps")
    assert state(third) == state(k)


def test_not_while_the_guest_runs(arch: str, tmp_path: Path) -> None:
    k = bare_kernel(arch)
    problems: list[UsageError] = []

    def listen(data: bytes) -> None:
        try:
            k.snapshot(tmp_path / "a.kps")
        except UsageError as error:
            problems.append(error)

    k.console.listeners.append(listen)
    k.run(seconds=0.001)
    assert len(problems) == 2
    assert "when run() has returned" in str(problems[0])
    assert not list(tmp_path.iterdir())


@functools.cache
def stored(arch: str) -> bytes:
    """The content of a bare guest's snapshot."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.kps"
        k = bare_kernel(arch)
        k.run(seconds=0.001)
        k.snapshot(path)
        return path.read_bytes()


@pytest.fixture
def file(arch: str, tmp_path: Path) -> Path:
    path = tmp_path / "a.kps"
    path.write_bytes(stored(arch))
    return path


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_never_reaches_a_cpu(
    file: Path, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.setattr(Engine, "write_registers", lambda *_: pytest.fail("it reached the CPU"))
    content = bytearray(stored("arm64" if b"arm64" in file.read_bytes() else "x86_64"))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    file.with_name("b.kps").write_bytes(content)
    for read in (Kernel.resume, describe):
        with pytest.raises(SnapshotError):
            read(file.with_name("b.kps"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damage_under_a_right_checksum_is_our_error(file: Path, data: st.DataObject) -> None:
    found = read_container(file)
    sections = {name: bytearray(part) for name, part in found.sections.items()}
    name = data.draw(st.sampled_from(sorted(set(sections) - {"machine"})))
    at = data.draw(st.integers(0, max(0, len(sections[name]) - 1)))
    sections[name][at : at + 1] = data.draw(st.binary(max_size=3))
    other = file.with_name("b.kps")
    write_container(other, found.facts, {key: bytes(part) for key, part in sections.items()})
    try:
        Kernel.resume(other)
    except KprobesimError:
        return


def _reseal(file: Path, facts: dict[str, Any] | None = None, **sections: bytes) -> None:
    found = read_container(file)
    old = {key: bytes(part) for key, part in found.sections.items()}
    write_container(file, {**found.facts, **(facts or {})}, {**old, **sections})


@pytest.mark.parametrize("memory", [0, -4096, 4095, None, "16M", 1 << 62, 4096])
def test_memory_that_cannot_be(file: Path, memory: object) -> None:
    _reseal(file, {"memory": memory})
    with pytest.raises(SnapshotError):
        Kernel.resume(file)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("unicorn", "2.0.0", "another emulator"),
        ("registers", b"", "registers"),
        ("registers", bytes(100_000), "registers"),
        ("arch", "mips", "another emulator"),
    ],
)
def test_another_emulator(file: Path, key: str, value: object, message: str) -> None:
    machine = unpack_value(read_container(file).section("machine"))
    machine["cpus"][0][key] = value
    _reseal(file, machine=pack_value(machine))
    with pytest.raises(SnapshotError, match=message):
        Kernel.resume(file)


def test_wrong_use_names_the_right_way(file: Path, sample: Path) -> None:
    with pytest.raises(UsageError, match=r"Kernel\.resume"):
        Kernel.load(file)
    with pytest.raises(SnapshotError, match="is no snapshot"):
        Kernel.resume(sample)
    with pytest.raises(SnapshotError, match="is of another kernel than guest-"):
        Kernel.resume(file, image=sample)
    with pytest.raises(UsageError, match="clock"):
        Kernel.resume(file, clock="sundial")


# -- real kernels ----------------------------------------------------------------------------------


class Handlers:
    """Probes whose hits are noted with their time."""

    def __init__(self) -> None:
        self.hits: list[tuple[str, int, float]] = []
        self.kernel: BootedKernel | None = None

    def note(self, what: str, p: Kprobe, regs: Any) -> None:
        assert self.kernel is not None
        self.hits.append((f"{what} {p.symbol_name}", regs.arg(0), self.kernel.time))

    def probes(self) -> list[Kprobe]:
        def pre(p: Kprobe, regs: Any) -> None:
            self.note("pre", p, regs)

        def post(p: Kprobe, regs: Any, flags: int) -> None:
            self.note("post", p, regs)

        return [
            Kprobe("start_kernel", pre_handler=pre),
            Kprobe("kernel_clone", pre_handler=pre, post_handler=post),
            Kprobe("do_exit", pre_handler=pre),
        ]


@pytest.mark.real_kernel
def test_a_real_kernel_goes_on_exactly(real_image: Path, tmp_path: Path) -> None:
    """From where it has just begun, and from the start of user space."""
    before = Handlers()
    k = before.kernel = Kernel.boot(real_image, probes=before.probes())
    earlier = dict[str, int]()  # hits before a snapshot
    for until in ("Memory:", "Run /init"):
        assert k.run(until).kind is Stop.TEXT
        k.snapshot(tmp_path / f"{until[:3]}.kps")
        earlier[until[:3]] = len(before.hits)
    assert k.run().kind in ENDS

    for name, hits in earlier.items():
        after = Handlers()
        other = Kernel.resume(tmp_path / f"{name}.kps", probes=after.probes(), image=real_image)
        after.kernel = other
        assert "_symbols" not in other.image.__dict__  # nothing was decoded for it
        assert other.run().kind in ENDS
        assert other.console.text == k.console.text
        assert other.time == k.time
        assert after.hits == before.hits[hits:]
        assert len(after.hits) >= 4
        assert [p.symbol_name for p in other.kprobes] == ["start_kernel", "kernel_clone", "do_exit"]


@pytest.mark.real_kernel
def test_probes_can_be_given_handlers_or_added_later(
    real_image: Path, boots: Boots, tmp_path: Path
) -> None:
    k = boots.at_run_init(real_image)
    k.register_kprobe(Kprobe("kernel_clone"))
    k.snapshot(tmp_path / "a.kps")
    k.run()
    other = Kernel.resume(tmp_path / "a.kps", probes=[Kprobe("do_exit")])
    hits: dict[str, int] = {"kernel_clone": 0, "do_exit": 0}

    def count(p: Kprobe, regs: Any) -> None:
        hits[p.symbol_name or ""] += 1

    for p in other.kprobes:
        p.pre_handler = count
    other.run()
    assert hits["kernel_clone"] >= 5
    assert hits["do_exit"] >= 5
    assert other.console.text == k.console.text
    with pytest.raises(SnapshotError, match="cannot be written"):
        k.snapshot(tmp_path / "no" / "such.kps")


def imitating(arch: str) -> BootedKernel:
    k = bare_kernel(arch)
    return BootedKernel(k.image, k.board, MODELS["5.4"], strict=True)


def test_the_model_comes_back(arch: str, tmp_path: Path) -> None:
    path = tmp_path / "a.kps"
    imitating(arch).snapshot(path)
    assert describe(path)["model"] == "5.4"
    for options in ({}, {"model": "5.4"}, {"strict": True}, {"memory": describe(path)["memory"]}):
        k = Kernel.resume(path, **options)
        assert (k.model.name, k.strict) == ("5.4", True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "6.1"}, r"has model 5\.4, not 6\.1"),
        ({"strict": False}, "has strict True, not False"),
        ({"memory": "1G"}, "has memory .* bytes, not 1073741824 bytes"),
    ],
)
def test_a_contradiction_is_refused(
    arch: str, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    imitating(arch).snapshot(tmp_path / "a.kps")
    with pytest.raises(SnapshotError, match=message):
        Kernel.resume(tmp_path / "a.kps", **options)


def test_a_file_of_the_first_format_is_read(file: Path) -> None:
    """It has one CPU, no list of them, and does not say whose kprobes it imitates."""
    container = read_container(file)
    machine = unpack_value(container.section("machine"))
    (machine["cpu"],) = machine.pop("cpus")
    sections = {name: bytes(data) for name, data in container.sections.items()}
    sections["machine"] = pack_value(machine)
    del sections["kernel"]
    write_container(file, container.facts, sections)
    assert Kernel.resume(file).time == pytest.approx(0.001)
    k = Kernel.resume(file, model="5.4", strict=True)
    assert (k.model.name, k.strict) == ("5.4", True)


@pytest.mark.parametrize("cpus", [[], None, 2])
def test_a_state_has_one_cpu(file: Path, cpus: object) -> None:
    machine = unpack_value(read_container(file).section("machine"))
    machine["cpus"] = machine["cpus"] * cpus if isinstance(cpus, int) else cpus
    _reseal(file, machine=pack_value(machine))
    with pytest.raises(SnapshotError, match=r"one CPU|cpus|turns"):
        Kernel.resume(file)
