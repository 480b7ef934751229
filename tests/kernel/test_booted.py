"""Real kernels boot to user space, and do not notice the probes on them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from makers.boots import Boots

from kprobesim import Kernel, Kprobe, KprobeError, KprobeFlag, Reason, Stop, UsageError
from kprobesim.cli.main import main

pytestmark = pytest.mark.real_kernel

ENDS = (Stop.POWER_OFF, Stop.HALT)  # a PC without ACPI halts
FORK = "kernel_clone"


def test_to_user_space_and_to_its_end(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    assert k.run().kind in ENDS
    text = k.console.text
    assert "Linux version " + k.version in text
    assert "Run /init as init process" in text
    assert "kprobesim init: 17 of 17 steps passed" in text
    assert "WARNING: CPU" not in text
    assert k.run().kind in ENDS  # an ended guest stays ended


def test_the_guest_does_not_notice_its_probes(real_image: Path, boots: Boots) -> None:
    """The same console, time stamps and all: also with what ftrace, alternatives, jump labels and
    static calls patch under the probes, and with instructions that are stepped.
    """
    hits: dict[str, int] = {}
    seen: list[Any] = []
    times: list[float] = []

    def pre(p: Kprobe, regs: Any) -> None:
        times.append(k.time)
        hits[p.symbol_name or ""] = hits.get(p.symbol_name or "", 0) + 1
        if p.symbol_name == "start_kernel":
            seen.append(regs)

    def post(p: Kprobe, regs: Any, flags: int) -> None:
        times.append(k.time)
        hits["post"] = hits.get("post", 0) + 1

    plain = [Kprobe(n, pre_handler=pre) for n in ("start_kernel", "vfs_write", "do_exit")]
    stepped = [Kprobe(n, pre_handler=pre, post_handler=post) for n in (FORK, "rest_init")]
    k = Kernel.boot(real_image, probes=plain + stepped)
    assert k.time == 0
    k.run()
    assert k.console.text == boots.outcome(real_image).console
    assert k.time == boots.outcome(real_image).time
    assert times == sorted(times)
    assert hits["start_kernel"] == hits["rest_init"] == 1
    assert hits["post"] == hits[FORK] + hits["rest_init"]
    assert hits[FORK] > 20
    assert hits["do_exit"] >= 5
    start = k.symbols["start_kernel"].address
    assert seen[0].ip == start + (1 if k.arch == "x86_64" else 0)
    gone = {p.symbol_name for p in plain + stepped if p.flags & KprobeFlag.GONE}
    assert gone == {"start_kernel"}  # its memory was given back


def test_what_runs_at_boot_only_is_no_text_afterwards(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    with pytest.raises(KprobeError, match="__init") as refused:
        k.register_kprobe(Kprobe("start_kernel"))
    assert refused.value.reason is Reason.NOT_KERNEL_TEXT
    assert "vfs_caches_init" not in k.functions("vfs_*")
    k.count("vfs_*").remove()


def test_run_stops_where_it_is_asked_to(real_image: Path) -> None:
    k = Kernel.boot(real_image)
    reason = k.run("Linux version")
    assert reason.kind is Stop.TEXT
    before = k.time
    assert k.run(seconds=0.01).kind is Stop.SECONDS
    assert 0.01 <= round(k.time - before, 9) < 0.011
    assert k.run(lambda kernel: "Memory:" in kernel.console.text).kind is Stop.CONDITION
    assert k.run(timeout=0.001).kind is Stop.TIMEOUT


def test_a_handler_that_raises_stops_the_boot(real_image: Path) -> None:
    class Mine(Exception):
        pass

    def explode(p: Kprobe, regs: Any) -> None:
        raise Mine

    p = Kprobe("rest_init", pre_handler=explode)
    k = Kernel.boot(real_image, probes=[p])
    with pytest.raises(Mine):
        k.run()
    with pytest.raises(Mine):
        k.run()  # the instruction is still to come
    k.unregister_kprobe(p)
    hits = []
    with k.probing(FORK, pre_handler=lambda p, regs: hits.append(p)):
        assert k.run(lambda kernel: len(hits) >= 3).kind is Stop.CONDITION


def test_memory_is_read_through_the_guests_page_tables(real_image: Path, boots: Boots) -> None:
    k = boots.at_run_init(real_image)
    strlen = k.symbols["strlen"].address
    assert len(k.read(strlen, 8)) == 8
    banner = k.image.banner.encode()[:40]
    if "linux_banner" in k.symbols:
        assert k.read_cstr(k.symbols["linux_banner"].address).startswith(banner)


def test_wrong_use_is_refused(any_real_image: Path) -> None:
    for wrong in ({"append": 5}, {"memory": "lots"}, {"probes": ["kernel_clone"]}):
        with pytest.raises(UsageError):
            Kernel.boot(any_real_image, **wrong)


def test_the_command(any_real_image: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["boot", str(any_real_image), "--append", "quiet", "-p", FORK, "--max-hits", "2"])
    out = capfd.readouterr().out
    assert code == 0
    assert "kprobesim init: 17 of 17 steps passed" in out
    assert re.search(rf"hit 2 {FORK}\+0x0/\S+  swapper/0-0  0x", out)
    assert f"probe {FORK}: " in out
    assert main(["boot", str(any_real_image), "--until", "no such text", "--seconds", "0.01"]) == 1
    capfd.readouterr()
    assert main(["boot", str(any_real_image), "-p", "no_such_function"]) == 1
    assert "no symbol is named no_such_function" in capfd.readouterr().err


def test_json_names_the_task_of_each_hit(
    any_real_image: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-p", "start_kernel", "-p", "do_exit", "--until", "17 of 17"]
    assert main(["boot", str(any_real_image), "--json", *arguments]) == 0
    hits = json.loads(capfd.readouterr().out)["hits"]
    assert (hits[0]["pid"], hits[0]["comm"]) == (0, "swapper")
    ends = [hit for hit in hits if hit["probe"] == "do_exit" and hit["comm"] == "init"]
    pids = [hit["pid"] for hit in ends]
    assert len(pids) >= 5
    assert pids == sorted(set(pids))
