"""Patterns in the place of names: which functions they mean, and one probe for all of them."""

from __future__ import annotations

import copy

import pytest

from kprobesim import (
    CalledKernel,
    Jprobe,
    KernelRules,
    Kprobe,
    KprobeError,
    Kretprobe,
    Reason,
    UsageError,
    open_rules,
)
from kprobesim.kernel.samples import sample_path

_STRINGS = ["strlen", "strcmp", "strcpy", "strscpy", "strchr", "strstr"]


def test_which_functions_are_meant(guest: CalledKernel) -> None:
    assert set(_STRINGS) < {*guest.functions("str*")}
    assert [*guest.functions("str[l]en")] == ["strlen"]
    assert [*guest.functions(["gcd", "str?en,lcm"])] == ["gcd", "strlen", "lcm"]
    assert [*guest.functions("gcd,gcd")] == ["gcd"]
    assert [*guest.functions("no such name")] == ["no such name"]  # registering refuses it


def test_twins_are_told_apart(guest: CalledKernel) -> None:
    twins = guest.functions("mi[x]")
    assert [guest.symbols[name].name for name in twins] == ["mix", "mix"]
    with guest.probing("mi[x]") as p:
        assert [one.addr for one in p.members] == [guest.symbols[name].address for name in twins]


def test_parts_of_functions_are_no_functions(guest: CalledKernel) -> None:
    assert "noprobe_listed.cold" not in guest.functions("noprobe*", refused=True)
    assert [*guest.functions("*.cold", refused=True)] == ["noprobe_listed.cold"]


def test_what_is_refused_is_skipped_and_told(guest: CalledKernel) -> None:
    found = guest.functions("noprobe_*")
    assert "noprobe_listed" not in found
    assert {error.reason for error in found.skipped} == {Reason.BLACKLISTED}
    assert f"skipped {len(found.skipped)}: {len(found.skipped)} blacklisted" in str(found)
    assert len(guest.functions("noprobe_*", refused=True)) == len(found) + len(found.skipped)


def test_an_explicit_name_is_not_skipped(guest: CalledKernel) -> None:
    with pytest.raises(KprobeError) as caught:
        guest.register_kprobe(Kprobe("str*,noprobe_listed"))
    assert caught.value.reason is Reason.BLACKLISTED
    assert not len(guest.kprobes)


@pytest.mark.parametrize(
    ("names", "reason", "words"),
    [
        ("strlan*", Reason.UNKNOWN_SYMBOL, "strlen"),
        ("noprobe_list*", Reason.BLACKLISTED, "the only function that noprobe_list"),
        ("mod:*", Reason.UNKNOWN_SYMBOL, "mod is not loaded"),
    ],
)
def test_a_pattern_without_functions(
    guest: CalledKernel, names: str, reason: Reason, words: str
) -> None:
    with pytest.raises(KprobeError, match=words) as caught:
        guest.functions(names)
    assert caught.value.reason is reason
    with pytest.raises(KprobeError, match=words):
        guest.register_kretprobe(Kretprobe(names))


@pytest.mark.parametrize("names", ["", ",", [], 5, [5]])
def test_no_names(guest: CalledKernel, names: object) -> None:
    with pytest.raises(UsageError, match="function"):
        guest.functions(names)  # type: ignore[arg-type]


def test_one_kprobe_for_many(guest: CalledKernel) -> None:
    hits = []
    p = Kprobe("str*", pre_handler=lambda p, regs: hits.append(p.symbol_name))
    handle = guest.register_kprobe(p)
    assert len(p.members) == len(guest.kprobes) == len(guest.functions("str*"))
    guest.call("strlen", "abc")
    guest.call("strcmp", "abc", "abd")
    assert hits == ["strlen", "strcmp"]
    with pytest.raises(KprobeError, match="already"):
        guest.register_kprobe(p)
    assert copy.copy(p).members == ()
    guest.disable_kprobe(p)
    guest.call("strlen", "abc")
    guest.enable_kprobe(p)
    guest.call("strlen", "abc")
    assert hits == ["strlen", "strcmp", "strlen"]
    guest.unregister_kprobe(p.members[0])  # one of them may go
    guest.unregister_kprobe(p)
    handle.remove()
    assert not len(guest.kprobes)
    with guest.register_kprobes([p, Kprobe("gcd")]):
        assert len(guest.kprobes) == len(p.members) + 1
    assert p.members == ()


def test_inside_of_functions(guest: CalledKernel) -> None:
    offset = 4 if guest.arch == "arm64" else 1
    p = Kprobe("*", offset=offset)
    with guest.register_kprobe(p):
        assert 0 < len(p.members) < len(guest.functions("*"))
        assert all(
            one.addr == guest.symbols[one.symbol_name or ""].address + offset for one in p.members
        )


def test_return_probes_and_jprobes(guest: CalledKernel) -> None:
    seen: list[object] = []
    rp = Kretprobe(
        "strl*,gcd", handler=lambda ri, regs: seen.append((ri.rp.kp.symbol_name, regs.return_value))
    )
    jp = Jprobe("gc?", entry=lambda a, b: seen.append((a, b)))
    with guest.register_kretprobe(rp), guest.register_jprobe(jp):
        guest.call("strlen", "abc")
        guest.call("gcd", 12, 8)
        guest.disable_kretprobe(rp)
        guest.disable_jprobe(jp)
        guest.call("gcd", 12, 8)
    assert seen == [("strlen", 3), (12, 8), ("gcd", 4)]
    assert not rp.members and not jp.members
    assert not len(guest.kprobes)


def test_asking_the_rules(arch: str) -> None:
    rules: KernelRules = open_rules(sample_path(arch))
    answers = {verdict.symbol: bool(verdict) for verdict in rules.check_all("noprobe_*")}
    assert answers["noprobe_listed"] is False
    assert [*rules.functions("noprobe_*")] == [name for name, taken in answers.items() if taken]
    assert [v.symbol for v in rules.check_all("gcd,lc*")] == ["gcd", "lcm"]
    with pytest.raises(UsageError, match="check_all"):
        rules.check("noprobe_*")
