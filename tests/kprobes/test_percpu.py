"""What there is one of for each CPU: two CPUs that handle the same probes at the same time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kprobesim import Kprobe, KprobeCtlblk
from kprobesim.kprobes.aggregate import AggrKprobe
from kprobesim.kprobes.percpu import PerCpu


def _cpus(count: int) -> Any:
    vcpus = [SimpleNamespace(number=number) for number in range(count)]
    return SimpleNamespace(vcpus=vcpus, vcpu=vcpus[0], on_new_vcpu=[])


def test_this_is_the_one_of_the_cpu_that_runs() -> None:
    system = _cpus(2)
    names = PerCpu(system, lambda vcpu: f"cpu{vcpu.number}")
    upper = names.call(lambda name: lambda: name.upper())
    assert [*names] == ["cpu0", "cpu1"] and len(names) == 2
    assert (names.this(), upper()) == ("cpu0", "CPU0")
    system.vcpu = system.vcpus[1]
    assert (names.this(), upper()) == ("cpu1", "CPU1")


def test_with_one_cpu_nobody_is_asked() -> None:
    system = _cpus(1)
    ctlblk = PerCpu(system, lambda vcpu: KprobeCtlblk())
    of_this_cpu = ctlblk.call(lambda ctl: ctl.save)
    assert of_this_cpu == ctlblk[0].save
    assert ctlblk.this() is ctlblk[0]


def test_a_cpu_that_is_added_gets_one() -> None:
    system, new = _cpus(1), list[str]()
    names = PerCpu(system, lambda vcpu: f"cpu{vcpu.number}")
    names.on_new(new.append)
    system.vcpus.append(SimpleNamespace(number=1))
    (grow,) = system.on_new_vcpu
    grow(system.vcpus[1])
    assert ([*names], new) == (["cpu0", "cpu1"], ["cpu1"])
    system.vcpu = system.vcpus[1]
    assert names.this() == names.call(lambda name: lambda: name)() == "cpu1"


def test_each_cpu_knows_whose_handler_it_runs() -> None:
    system = _cpus(2)
    ctlblk = PerCpu(system, lambda vcpu: KprobeCtlblk())
    seen: list[tuple[Kprobe | None, Kprobe | None]] = []

    def look() -> None:
        seen.append((ctlblk[0].kprobe_instance, ctlblk[1].kprobe_instance))

    def newer_handler(p: Kprobe, regs: Any) -> None:
        look()
        if system.vcpu.number == 0:  # meanwhile, on the other CPU
            system.vcpu = system.vcpus[1]
            head.pre_handler(head, regs)
            look()
            system.vcpu = system.vcpus[0]
        look()

    older = Kprobe("b", pre_handler=lambda p, regs: look())
    newer = Kprobe("a", pre_handler=newer_handler)
    head = AggrKprobe(older, ctlblk)
    head.add(newer)
    head.pre_handler(head, None)
    on_both = [(newer, newer), (newer, newer), (newer, older), (newer, None)]
    assert seen == [(newer, None), *on_both, (newer, None), (older, None)]
    assert ctlblk[0].kprobe_instance is ctlblk[1].kprobe_instance is None
