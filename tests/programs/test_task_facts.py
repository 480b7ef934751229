"""Task, CPU, caller and time: what compiled code says is what Python says, and the kernel's API."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

pytest.importorskip("llvmlite")

from llvmlite import ir
from makers.boots import Boots
from programs.compiled import I64, Compiled, new_function

from kprobesim import BootedKernel, CalledKernel, Kernel, Kprobe, UsageError
from kprobesim.inside.tasks import TASK_COMM_LEN
from kprobesim.machine.registers import PtRegs
from kprobesim.programs import Program, Record, arg, caller, comm, cpu, now, pid, stack_id, tgid
from kprobesim.programs.compiler.memory import GuestMemoryCode
from kprobesim.programs.compiler.task import TaskCode
from kprobesim.programs.fault import FAULT
from kprobesim.programs.guest import guest_of
from kprobesim.programs.stores.stacks import DEPTH, SLOTS
from kprobesim.programs.task import TaskFacts
from kprobesim.sizes import MASK64


class Facts:
    """What compiled code and Python know of ``k``."""

    def __init__(
        self, k: CalledKernel | BootedKernel, numbers: tuple[str, ...], *, comm: bool = True
    ) -> None:
        self.numbers = numbers
        self._comm = comm
        self._guest = guest = guest_of(k.machine, k.tasks, k.image)  # its words are in the code
        self.python = TaskFacts(k.machine, guest)
        module = ir.Module()
        code = TaskCode(guest, GuestMemoryCode(module, guest), k.machine.isa.abi)
        for name in numbers:
            b, _, out = new_function(module, name)
            value, fault = code.facts[name](b)
            b.store(value, b.bitcast(out, I64.as_pointer()))
            b.ret(b.zext(fault, I64))
        if comm:
            b, _, out = new_function(module, "comm")
            b.ret(b.zext(code.comm(b, out), I64))
        self._compiled = Compiled(module)
        self._word = ctypes.c_uint64()
        self._text = ctypes.create_string_buffer(TASK_COMM_LEN)

    def of_python(self) -> dict[str, int | bytes | None]:
        """All facts; numbers as 64 bits, ``None`` for a fault."""
        facts: dict[str, int | bytes | None] = {}
        for name in self.numbers:
            value = getattr(self.python, name)()
            facts[name] = None if value is None else value & MASK64
        return facts | ({"comm": self.python.comm()} if self._comm else {})

    def of_code(self) -> dict[str, int | bytes | None]:
        """The same, by compiled code."""
        facts: dict[str, int | bytes | None] = {}
        for name in self.numbers:
            fault = self._compiled[name](0, ctypes.addressof(self._word))
            facts[name] = None if fault else self._word.value
        if self._comm:
            fault = self._compiled["comm"](0, ctypes.addressof(self._text))
            facts["comm"] = None if fault else self._text.value
        return facts


_ALL = ("pid", "tgid", "cpu", "now", "caller")


def test_tasks_of_a_booted_guest(boots: Boots, real_image: Path) -> None:
    k = boots.at_run_init(real_image)
    facts, seen, stamps = Facts(k, _ALL), set(), []

    def hit(_p: Kprobe, _regs: PtRegs) -> int:
        task, known = k.current, facts.of_python()
        assert facts.of_code() == known
        assert task is not None
        assert known["pid"] == task.pid & MASK64
        assert (known["tgid"], known["cpu"]) == (task.tgid, 0)
        assert known["comm"] == task.comm.encode()
        assert known["now"] == k.machine.clock.now()
        caller = known["caller"]
        assert isinstance(caller, int)
        assert k.symbols.at(caller) is not None
        seen.add(task.pid)
        stamps.append(known["now"])
        return 0

    with k.probing("schedule", pre_handler=hit), k.probing("vfs_write", pre_handler=hit):
        k.run(seconds=0.5)
    assert len(seen) > 1
    assert stamps == sorted(stamps)


def test_the_task_of_a_called_guest(real_kernel: CalledKernel) -> None:
    k = real_kernel
    facts, task, hits = Facts(k, _ALL), k.current, []

    def hit(_p: Kprobe, _regs: PtRegs) -> int:
        known = facts.of_python()
        assert facts.of_code() == known
        hits.append(known)
        return 0

    with k.probing("strlen", pre_handler=hit):
        k.call("strlen", "abc")
        k.call("strlen", "abcdef")
    assert task is not None
    assert [(hit["pid"], hit["comm"]) for hit in hits] == 2 * [(task.pid, task.comm.encode())]
    assert hits[0]["caller"] == k.machine.return_address


def test_time_of_a_called_guest_is_that_of_its_blocks(guest: CalledKernel) -> None:
    facts, stamps = Facts(guest, ("now",), comm=False), []

    def hit(_p: Kprobe, _regs: PtRegs) -> int:
        assert facts.of_code() == facts.of_python()
        stamps.append(facts.python.now())
        return 0

    def elapsed(count: int, limit: int = 0) -> int:
        before = guest.machine.stopwatch.now()
        with guest.probing("count_to", pre_handler=hit):
            guest.call("count_to", count, max_instructions=limit)
        return guest.machine.stopwatch.now() - before

    short, longer = elapsed(10), elapsed(1000)
    assert elapsed(10) == short
    assert longer - short == 990 * 8  # a block is a turn of the loop
    assert 0 < elapsed(10, limit=100_000) < 8 * short
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == len(stamps)


def test_a_call_in_a_handler_takes_its_time_and_no_more(guest: CalledKernel) -> None:
    watch = guest.machine.stopwatch

    def timed(p: Kprobe | None) -> int:
        before = watch.now()
        if p is None:
            guest.call("count_to", 1000)
        else:
            with guest.register_kprobe(p):
                guest.call("count_to", 1000)
        return watch.now() - before

    plain = timed(None)
    nested = timed(Kprobe("count_to", pre_handler=lambda _p, _regs: guest.call("gcd", 12, 18) * 0))
    before = watch.now()
    guest.call("gcd", 12, 18)
    assert nested - plain - (watch.now() - before) in range(64)


def test_programs_record_them(boots: Boots, real_image: Path) -> None:
    k = boots.at_run_init(real_image)
    values = {"pid": pid, "tgid": tgid, "comm": comm, "cpu": cpu, "when": now, "caller": caller}
    rings = [
        k.record("vfs_write", fields={**values, "count": arg(2)}, compiled=compiled)
        for compiled in (True, False)
    ]
    k.run(seconds=0.3)
    one, other = ([tuple(record) for record in ring] for ring in rings)
    assert one == other
    assert one


@pytest.mark.parametrize("compiled", [True, False])
def test_stacks_of_callers(guest: CalledKernel, compiled: bool) -> None:
    """As many callers as frame pointers tell, and each stack once."""
    ring = guest.record("recurse", stack=stack_id, left=arg(0), compiled=compiled)
    returns = Program([Record({"stack": stack_id})], returns=True, maxactive=41)
    back = guest.plant("recurse", returns, compiled=compiled).stores[0]
    expected: dict[int, list[int]] = {}

    def look(_p: Kprobe, regs: PtRegs) -> None:
        expected[regs.arg(0)] = [frame.address for frame in guest.stack_trace()[1:]]

    with guest.probing("recurse", pre_handler=look, arming="hook"):
        for _ in range(2):
            guest.call("recurse", 40)
    stacks = [guest.stacks[record.stack] for record in ring]
    assert stacks[:41] == stacks[41:]
    assert [record.stack for record in back] == [record.stack for record in ring][40::-1] * 2
    for record, stack in zip(ring, stacks, strict=True):
        assert list(stack) == expected[record.left][: len(stack)]
        assert len(stack) == min(len(expected[record.left]), DEPTH)
    assert len({record.stack for record in ring}) == len(set(stacks)) == len(guest.stacks)


@pytest.mark.parametrize("compiled", [True, False])
def test_hits_whose_stack_has_no_number_are_counted(guest: CalledKernel, compiled: bool) -> None:
    guest.stacks.put_all((number, [1]) for number in range(SLOTS))
    ring = guest.record("gcd", stack=stack_id, compiled=compiled)
    guest.call("gcd", 12, 18)
    assert ring[0].stack is FAULT
    assert guest.stacks.lost == len(ring)


def test_stacks_of_a_booted_guest(boots: Boots, real_image: Path, tmp_path: Path) -> None:
    """By frame pointers or ORC, as the unwinder tells; numbers mean the same behind a snapshot."""
    k = boots.at_run_init(real_image)
    tables = [k.count("kfree", key=(stack_id, comm), compiled=each) for each in (True, False)]
    expected: set[tuple[int, ...]] = set()

    def look(_p: Kprobe, _regs: PtRegs) -> None:
        expected.add(tuple(frame.address for frame in k.stack_trace()[1 : DEPTH + 1]))

    with k.probing("kfree", pre_handler=look):
        k.run(seconds=0.1)
    one, other = (dict(table) for table in tables)
    assert one == other
    stacks = {k.stacks[number] for number, _ in one}
    assert max(map(len, stacks)) > 5
    # Frame pointers may miss the end of a stack, of user space for one.
    assert all(any(whole[: len(stack)] == stack for whole in expected) for stack in stacks)
    tables[1].planted.remove()
    k.snapshot(tmp_path / "stacks.kps")
    assert dict(Kernel.resume(tmp_path / "stacks.kps").stacks) == dict(k.stacks)


def test_callers_are_known_at_the_entry(guest: CalledKernel) -> None:
    inside = next(f"gcd+{n}" for n in range(8, 40) if guest.check(f"gcd+{n}"))
    for value in (caller, stack_id):
        with pytest.raises(UsageError, match="first instruction only"):
            guest.count(inside, key=value)
    assert len(guest.kprobes) == 0


@pytest.mark.real_kernel
def test_the_time_of_the_host_needs_python(any_real_image: Path) -> None:
    k = Kernel.boot(any_real_image, clock="host")
    stamps = k.count("vfs_read", key=now)
    assert "the host's" in stamps.planted.why_not
    with pytest.raises(UsageError, match="the host's"):
        k.latency("vfs_read", compiled=True)
    assert k.count("vfs_read", key=pid).compiled
