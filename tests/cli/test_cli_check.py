"""``kprobesim check``."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from makers.package_maker import make_deb

from kprobesim import Kernel, Kprobe, KprobeError, Reason, open_rules

Cli = Callable[..., Any]

_KEYS = [
    *("symbol", "offset", "errno", "reason", "message", "address", "on_func_entry", "kind"),
    *("boostable", "emulated", "optimizable", "slot", "original"),
    *("same_named", "module", "release", "arch", "model"),
]


def refusal(outcome: Any) -> dict[str, Any]:
    """The one answer, which is a refusal."""
    assert outcome.code == 1 and not outcome.err
    answer: dict[str, Any] = json.loads(outcome.out)
    return answer


def test_an_accepted_point(cli: Cli, sample: Path, guest: Kernel) -> None:
    offset = 5 if guest.arch == "x86_64" else 12
    answer = cli("check", sample, f"gcd+{offset}", "--json", "--slot-at", "0xffffffffc0000000").data
    assert list(answer) == _KEYS
    assert (answer["symbol"], answer["offset"], answer["errno"]) == ("gcd", offset, 0)
    assert answer["address"] == f"{guest.symbols['gcd'].address + offset:#x}"
    assert answer["kind"] == ("int3" if guest.arch == "x86_64" else "brk")
    assert answer["slot"].startswith(answer["original"])
    out = cli("check", sample, f"gcd+{offset}").out
    assert out.startswith(f"gcd+{offset}: yes, ")


def test_the_entry(cli: Cli, sample: Path, guest: Kernel) -> None:
    answer = cli("check", sample, "kprobe_target", "--json").data
    assert answer["on_func_entry"] is True
    assert answer["kind"] == ("ftrace" if guest.arch == "x86_64" else "brk")


def test_refusals_are_answers(cli: Cli, sample: Path) -> None:
    out = cli("check", sample, "noprobe_listed", "no_such_function")
    assert out.code == 1
    assert cli("check", sample, "gcd", "no_such_function").code == 1
    assert cli("check", sample, "gcd", "mix").code == 0
    assert [line.split(": ")[1].split(" ")[0] for line in out.lines] == ["-EINVAL", "-ENOENT"]


def test_the_first_of_several(cli: Cli, sample: Path, guest: Kernel) -> None:
    """As register_kprobe() takes it; kprobe_events wants to know which."""
    assert cli("check", sample, "mix").lines[0].endswith(", first of 2")
    answer = cli("check", sample, "mix", "--json").data
    first = guest.symbols.candidates("mix")[0].address
    assert (answer["address"], answer["same_named"]) == (f"{first:#x}", 2)
    assert "-EADDRNOTAVAIL" in cli("check", sample, "mix", "--events").out


def test_return_probes_and_events(cli: Cli, sample: Path, guest: Kernel) -> None:
    def errno(*arguments: str) -> tuple[int, str | None]:
        answer = json.loads(cli("check", sample, "--json", *arguments).out)
        return answer["errno"], answer["reason"]

    assert errno("kprobe_target", "--kretprobe") == (0, None)
    offset = 5 if guest.arch == "x86_64" else 8
    assert errno(f"kprobe_target+{offset}", "--kretprobe") == (22, "not-function-entry")
    assert errno("kprobe_target", "--events") == (0, None)
    assert errno("some_module:some_function", "--events") == (0, "module-not-loaded")
    untraced = next(
        symbol.name
        for symbol in guest.symbols.functions()
        if guest.check(symbol.name, events=True).reason is Reason.NOT_TRACEABLE
    )
    assert errno(untraced, "--events") == (22, "not-traceable")


def test_points_from_a_file_are_answered_in_order(
    cli: Cli, sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "symbol,offset,errno\ngcd,0x0,0\n\n# no point\nno_such,4\ngcd,1\ngcd,0\n"
    file = tmp_path / "points.csv"
    file.write_text(lines)
    answers = [json.loads(line) for line in cli("check", sample, "--from", file).lines]
    assert [(a["symbol"], a["offset"], bool(a["errno"])) for a in answers] == [
        ("gcd", 0, False),
        ("no_such", 4, True),
        ("gcd", 1, True),
        ("gcd", 0, False),
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert [json.loads(line) for line in cli("check", sample, "--from", "-").lines] == answers


def test_a_whole_function(cli: Cli, sample: Path, guest: Kernel) -> None:
    """As registering says, instruction by instruction."""
    answers = [json.loads(line) for line in cli("check", sample, "--all", "gcd", "--json").lines]
    assert len(answers) > 5
    for answer in answers:
        p = Kprobe("gcd", offset=answer["offset"])
        try:
            guest.register_kprobe(p)
        except KprobeError as error:
            assert error.errno == answer["errno"]
        else:
            assert answer["errno"] == 0
    shown = cli("check", sample, "--all", "gcd").lines
    signs = [line[0] for line in shown[1:] if not line.startswith(" ")]
    assert signs == ["-" if a["errno"] else "+" for a in answers]
    assert max(map(len, shown)) <= 80


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["give places"]),
        (("gcd", "--from", "x"), ["give places"]),
        (("--from", "/nonexistent"), ["/nonexistent"]),
        (("gcd", "--slot-at", "here"), ["no address"]),
        (("--all", "init_task"), ["no function"]),
    ],
)
def test_wrong_use(cli: Cli, sample: Path, arguments: tuple[str, ...], words: list[str]) -> None:
    outcome = cli("check", sample, *arguments)
    outcome.refused(outcome.code, *words)
    assert outcome.code in (1, 2)


def test_a_bad_line_is_named(cli: Cli, sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text("gcd,0\ngcd,five\nmix\ngcd,0x100000000\n")
    outcome = cli("check", sample, "--from", file)
    assert [json.loads(line)["symbol"] for line in outcome.lines] == ["gcd", "mix"]
    assert outcome.code == 2
    assert f"{file}:2: 'gcd,five' is no SYMBOL,OFFSET" in outcome.err
    assert f"{file}:4: 'gcd,0x100000000': the offset has more than 32 bits" in outcome.err


def test_unknown_names_of_a_file_are_explained(cli: Cli, sample: Path, tmp_path: Path) -> None:
    file = tmp_path / "points.csv"
    file.write_text("kprobe_targe,0\n")
    answer = refusal(cli("check", sample, "--from", file))
    assert "did you mean kprobe_target" in answer["message"]


def test_whose_rules_these_are(cli: Cli, sample: Path, guest: Kernel) -> None:
    answer = cli("check", sample, "gcd", "--json").data
    assert (answer["arch"], answer["release"]) == (guest.arch, guest.version)
    assert answer["model"] == guest.model.name
    assert cli("check", sample, "gcd", "--json", "--model", "5.10").data["model"] == "5.10"
    refused = refusal(cli("check", sample, "no_such_function", "--model", "2.6", "--json"))
    assert (refused["errno"], refused["model"]) == (22, "2.6")


@pytest.mark.parametrize("command", ["info", "call", "disasm", "check", "boot"])
def test_every_command_with_an_image_takes_a_model(cli: Cli, sample: Path, command: str) -> None:
    cli(command, sample, "--model", "1.0", "gcd").refused(2, "--model", "6.17")


def test_no_emulator_is_loaded(sample: Path) -> None:
    """The rules need no CPU: in a process of its own, not even Unicorn is imported."""
    program = (
        "import sys; from kprobesim.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "assert 'unicorn' not in sys.modules, 'there is a CPU'"
    )
    for arguments in (["check", str(sample), "gcd"], ["disasm", str(sample), "gcd"]):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.real_kernel
def test_a_snapshot_is_asked_as_it_stands(cli: Cli, any_real_image: Path, tmp_path: Path) -> None:
    """Also its code, out of the RAM in the file: without a CPU."""
    guest = Kernel.boot(any_real_image)
    guest.run(seconds=0.01)
    file = tmp_path / "guest.kps"
    guest.snapshot(file)
    rules = open_rules(file)
    start, end = guest.image.text_ranges[0]
    assert rules.read(start, end - start) == guest.read(start, end - start)
    for point in ("vfs_read", "vfs_read+1", "no_such_function"):
        assert rules.check(point) == guest.check(point)
    cli("check", file, "--symbols", "System.map", "vfs_read").refused(2, "symbols are for images")


def test_points_in_modules(cli: Cli, sample: Path, guest: Kernel, tmp_path: Path) -> None:
    """From --module, and on demand from the package that the kernel is from."""
    folder = sample.parent
    modules = {name: folder / f"{name}-{guest.arch}.ko" for name in ("module", "client")}
    given = [word for path in modules.values() for word in ("--module", path)]
    deb = tmp_path / "linux.deb"
    files = {"./boot/vmlinux-6.1": sample.read_bytes()}
    files["./lib/modules/6.1/kernel/kprobesim_sample.ko"] = modules["module"].read_bytes()
    files["./lib/modules/6.1/kernel/kprobesim_client.ko"] = modules["client"].read_bytes()
    deb.write_bytes(make_deb(files))
    points = tmp_path / "points.csv"
    points.write_text(
        "kprobesim_client:client_square,0\nkprobesim_sample:sample_noinstr,0\n"
        "kprobesim_sample:nothing,0\nother:nothing,0\nkprobesim_client:init_module,0\ngcd,0\n"
    )
    for arguments in ((sample, *given), (deb,)):
        answers = [json.loads(a) for a in cli("check", *arguments, "--from", points).lines]
        assert [a["errno"] for a in answers] == [0, 22, 2, 2, 2, 0]
        events = cli("check", *arguments, "--events", "--from", points).lines
        assert [json.loads(a)["errno"] for a in events] == [0, 22, 2, 0, 2, 0]
        out = cli(
            "check", *arguments, "--events", "other:nothing", "kprobesim_client:client_square"
        )
        assert out.lines[0].startswith("other:nothing: yes, the event waits for the module other")
        assert out.lines[1].startswith("kprobesim_client:client_square: yes, ")
        shown = cli("check", *arguments, "--all", "kprobesim_client:client_square").lines
        assert shown[0].startswith("client_square at 0x") and len(shown) > 5
        answer = cli("check", *arguments, "kprobesim_client:client_square", "--json").data
        assert answer["module"] == "kprobesim_client"
        outside = refusal(cli("check", *arguments, "client_square", "--json"))
        assert outside["module"] == "kprobesim_client"
        assert "client_square is in module kprobesim_client" in outside["message"]
    out = cli("check", sample, "kprobesim_client:client_square").lines[0]
    assert f"-ENOENT (module-not-loaded): {sample.name}: no module kprobesim_client is" in out


def test_modules_in_a_package_of_their_own(
    cli: Cli, sample: Path, guest: Kernel, tmp_path: Path
) -> None:
    """Debian since 6.19: it is named where it is missing, and used where it lies beside."""
    binary = tmp_path / "linux-binary.deb"
    binary.write_bytes(make_deb({"./usr/lib/modules/6.1/vmlinuz": sample.read_bytes()}))
    place = "kprobesim_sample:sample_add"
    apart = f"linux-modules-{guest.version}"
    answer = refusal(cli("check", binary, place, "--json"))
    assert (answer["errno"], answer["reason"]) == (2, "module-not-loaded")
    assert f"its modules are in the package {apart}; put that beside it" in answer["message"]
    module = sample.parent / f"module-{guest.arch}.ko"
    (tmp_path / f"{apart}_6.1_all.deb").write_bytes(
        make_deb(
            {f"./usr/lib/modules/{guest.version}/kernel/kprobesim_sample.ko": module.read_bytes()}
        )
    )
    assert cli("check", binary, place, "--json").data["module"] == "kprobesim_sample"
    assert "is in module" in refusal(cli("check", binary, "sample_add", "--json"))["message"]


def test_a_module_that_does_not_fit(cli: Cli, sample: Path, guest: Kernel) -> None:
    other = {"x86_64": "arm64", "arm64": "x86_64"}[guest.arch]
    file = sample.parent / f"module-{other}.ko"
    place = "kprobesim_sample:sample_add"
    cli("check", sample, "--module", file, place).refused(1, f"for {other}")
    cli("check", sample, "--module", sample, place).refused(1, "no module")


def test_return_events_ask_for_the_entry_before_they_count_names(guest: Kernel) -> None:
    """In kernels whose count of names has an errno of its own (before 6.11)."""
    asked = {"kretprobe": True, "events": True}
    assert guest.check("mix", offset=4, **asked).reason is Reason.NOT_FUNCTION_ENTRY
    assert guest.check("mix", **asked).reason is Reason.AMBIGUOUS_SYMBOL
    assert guest.check("mix", offset=4, events=True).reason is Reason.AMBIGUOUS_SYMBOL


def test_a_pattern_asks_for_each_function(cli: Cli, sample: Path) -> None:
    out = cli("check", sample, "str[lc]*", "--json")
    assert out.code == 0
    symbols = [json.loads(line)["symbol"] for line in out.lines]
    assert {"strlen", "strcmp", "strcpy", "strchr"} == {*symbols}
    assert cli("check", sample, "noprobe_*").code == 1  # none is left out
    assert "strlen" in cli("check", sample, "strlan*").err
