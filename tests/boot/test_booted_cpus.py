"""A real kernel on two CPUs: what it makes of them, and what is to be known of each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from makers.boots import Boots

from kprobesim import GuestPanic, Kprobe, UsageError
from kprobesim.asking.shell import Shell
from kprobesim.boot.boards import board_class
from kprobesim.image import load_image
from kprobesim.machine.registers import PtRegs

SYSTEM = "/sys/devices/system/cpu"
ON_BOTH = "taskset 1 head -1 /proc/uptime; taskset 2 head -1 /proc/uptime"


@pytest.fixture(scope="module")
def shell(real_image: Path, boots: Boots) -> Shell:
    if board_class(load_image(real_image).arch).most_cpus < 2:
        pytest.skip("this board has one CPU")
    return boots.shell(real_image, 2)


def test_the_kernel_has_both_and_can_do_without_one(shell: Shell) -> None:
    assert shell.run("nproc; grep -c ^processor /proc/cpuinfo") == (0, "2\n2\n")
    _, table = shell.run("cat /proc/interrupts")
    for name in ("arch_timer|Local timer", "Rescheduling|Function call"):
        rows = [line.split()[1:3] for line in table.splitlines() if re.search(name, line)]
        assert all(sum(map(int, column)) for column in zip(*rows, strict=True)), table
    assert shell.run(f"echo 0 >{SYSTEM}/cpu1/online; nproc") == (0, "1\n")
    with pytest.raises(UsageError, match="cpu=1: "):
        shell.kernel.call("int_sqrt", 144, cpu=1)
    assert shell.run(f"echo 1 >{SYSTEM}/cpu1/online; nproc") == (0, "2\n")


def test_a_handler_knows_its_cpu_and_what_belongs_to_it(shell: Shell) -> None:
    kernel = shell.kernel
    seen: set[tuple[int, str, int, int]] = set()

    def look(_p: Kprobe, _regs: PtRegs) -> None:
        task = kernel.current
        assert task is not None
        again = kernel.tasks.at(task.address)
        assert again == task
        seen.add((kernel.cpu, task.comm, task.cpu, int(kernel.variable("cpu_number"))))

    with kernel.probing("vfs_read", pre_handler=look):
        shell.run(ON_BOTH)
    assert {each for each in seen if each[1] == "head"} == {(n, "head", n, n) for n in (0, 1)}
    assert [int(kernel.variable("cpu_number", cpu=n)) for n in (0, 1)] == [0, 1]
    with pytest.raises(UsageError, match="cpu=2: this guest has 2"):
        kernel.variable("cpu_number", cpu=2)


def test_a_state_in_memory_holds_both(shell: Shell) -> None:
    kernel = shell.kernel
    state, ends = kernel.fork_state(), []
    for _ in range(2):
        said = shell.run(f"({ON_BOTH}) & (taskset 2 sha256sum /init) & wait")
        ends.append((said, kernel.time, kernel.cpu))
        kernel.restore_state(state)
    assert ends[0] == ends[1]


def test_a_function_is_called_while_all_are_busy(shell: Shell) -> None:
    kernel = shell.kernel
    state = kernel.fork_state()
    shell.run("for m in 1 2; do taskset $m sh -c 'while :; do :; done' & done")
    assert [kernel.call("int_sqrt", n * n) for n in (12, 100)] == [12, 100]
    for number in (0, 1, 0):  # the work lies where the one before lay, whose kworker stands still
        assert (kernel.call("int_sqrt", 144, cpu=number), kernel.cpu) == (12, number)
    with pytest.raises(UsageError, match=r"cpu=2: the guest's CPUs that are on are \[0, 1\]"):
        kernel.call("int_sqrt", 144, cpu=2)
    kernel.restore_state(state)


def test_a_panic_of_the_other_cpu_is_told(shell: Shell) -> None:
    kernel = shell.kernel
    state = kernel.fork_state()
    kernel.console.send("taskset 2 sh -c 'echo c >/proc/sysrq-trigger'\n")
    with pytest.raises(GuestPanic, match="sysrq triggered crash, on CPU 1 at panic") as caught:
        kernel.run()
    assert [other.number for other in caught.value.others] == [0]
    kernel.restore_state(state)
