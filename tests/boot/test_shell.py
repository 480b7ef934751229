"""An interactive BusyBox shell on the serial console of a real kernel."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from makers.boots import Boots
from makers.module_archive import ALONE as MODULE
from makers.module_archive import FOLDER
from shell_example import PROMPT, WHERE

from kprobesim import BootedKernel, Kernel, KprobeFlag, Stop, UsageError
from kprobesim.image.loaded_image import LoadedImage

pytestmark = pytest.mark.real_kernel

Type = Callable[[str], str]


@pytest.fixture(scope="module")
def shell(real_image: Path, shell_initrd: bytes, boots: Boots) -> BootedKernel:
    """Waits at its prompt."""
    return Kernel.resume(boots.at_prompt(real_image, shell_initrd), image=real_image)


def type_into(k: BootedKernel) -> Type:
    """``enter(line)`` types a line and gives what is printed up to the next prompt."""

    def enter(line: str) -> str:
        start = len(k.console.text)
        k.console.send(line + "\n")
        assert k.run(PROMPT).kind is Stop.TEXT
        echo, _, said = k.console.text[start:].removeprefix(WHERE).partition("\n")
        assert echo == line
        return said.removesuffix(PROMPT)

    return enter


def test_commands_answer(shell: BootedKernel) -> None:
    enter = type_into(shell)
    files = {"bin", "dev", "init", FOLDER, "proc", "root", "sys", "tmp"}
    assert set(enter("ls /").split()) == files
    assert f"Linux version {shell.version} " in enter("cat /proc/version")
    assert enter("seq 100 | grep 7 | wc -l") == "19\n"
    assert enter("echo $((6 * 7)) > /tmp/f; cat /tmp/f") == "42\n"


def test_modules_are_those_that_the_guest_has_loaded(shell: BootedKernel) -> None:
    enter = type_into(shell)
    assert len(shell.modules) == 0
    assert repr(shell.modules) == "<GuestModules: none is loaded>"
    enter(f"insmod /{FOLDER}/{MODULE}.ko")
    (module,) = shell.modules
    name, size, _users, _by, state, address = enter("cat /proc/modules").split()[:6]
    assert (module.name, module.state.value) == (name, state.lower()) == (MODULE, "live")
    assert module.address == int(address, 16)
    assert 0 < module.size <= int(size)
    assert MODULE in shell.modules and shell.modules[MODULE] == module
    enter(f"rmmod {MODULE}")
    assert MODULE not in shell.modules
    with pytest.raises(UsageError, match="none is"):
        shell.modules[MODULE]


def test_sleep_takes_its_time(shell: BootedKernel) -> None:
    before = shell.time
    assert type_into(shell)("sleep 1") == ""
    assert 1 <= shell.time - before < 1.2


def test_a_job_that_never_ends_is_preempted_and_killed(shell: BootedKernel) -> None:
    enter = type_into(shell)
    enter("(while :; do :; done) &")
    before = shell.time
    assert "Running" in enter("sleep 0.3; jobs")
    assert shell.time - before < 0.5
    assert "Terminated" in enter("kill %1; sleep 0.1; jobs")


def test_control_characters_are_the_guests(shell: BootedKernel) -> None:
    """Ctrl-C ends what runs in the foreground, Ctrl-Z stops it, Ctrl-U takes the line back."""
    enter = type_into(shell)
    for key, job in (("\x03", ""), ("\x1a", "Stopped")):
        shell.console.send("sleep 500\n")
        assert shell.run(seconds=0.5).kind is Stop.SECONDS
        before = shell.time
        shell.console.send(key)
        assert shell.run(PROMPT).kind is Stop.TEXT
        assert shell.time - before < 0.2
        assert job in enter("jobs")
    assert "Terminated" in enter("kill %1; fg; jobs")
    shell.console.send("nonsense\x15")
    shell.run(seconds=0.1)
    start = len(shell.console.text)
    shell.console.send("echo $((40 + 2))\n")
    shell.run(PROMPT)
    assert shell.console.text[start:].split("\n")[-2] == "42"


def test_symbols_and_probes_know_what_the_guest_has_loaded(shell: BootedKernel) -> None:
    k, enter, image = shell, type_into(shell), shell.image
    assert isinstance(image, LoadedImage)
    name = f"{MODULE}:LZ4_compress_default"
    assert name not in k.symbols and not k.check(name)
    coming: list[tuple[str, bool]] = []
    k.kprobes.module_notifier.subscribe(
        lambda module: coming.append((module.name, "LZ4_compress_default" in module.symbols))
    )
    enter(f"insmod /{FOLDER}/{MODULE}.ko")
    assert coming == [(MODULE, True)]
    shown = {
        words[2]: int(words[0], 16)
        for line in enter(f"grep {MODULE} /proc/kallsyms").splitlines()
        if not (words := line.split())[2].startswith("$")
    }
    module = image.modules[MODULE]
    assert shown.items() <= {each.name: each.address for each in module.symbols}.items()
    assert str(k.symbols.at(shown["LZ4_compress_default"])).endswith(f" [{MODULE}]")
    assert k.check(name).on_func_entry
    assert [each.source for each in k._module_types()] == [MODULE]
    if find_spec("drgn") is not None:
        from drgn.helpers.linux.module import find_module

        assert find_module(k.drgn(), MODULE).name.string_().decode() == MODULE
    with k.probing(f"{MODULE}:*") as p:
        assert len(p.members) > 4
        enter(f"rmmod {MODULE}")
        assert all(each.flags & KprobeFlag.GONE for each in p.members)
    assert MODULE not in image.modules and name not in k.symbols


def test_it_switches_itself_off(shell: BootedKernel) -> None:
    shell.console.send("exit\n")
    assert shell.run().kind is Stop.POWER_OFF
