"""What ``check`` answers is what registering does: the same number, reason and words."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kprobesim import Jprobe, Kernel, Kprobe, KprobeError, Kretprobe, Reason, Verdict

Answer = tuple[int, "Reason | None", "str | None"]


def points(k: Kernel, rng: random.Random, count: int) -> Iterator[dict[str, object]]:
    """Names, offsets and addresses: in functions, at what the kernel patches, and nowhere."""
    symbols = list(k.symbols)
    special = [
        *k.image.ftrace_sites,
        *(entry.addr for entry in k.image.bug_table),
        *(entry.insn for entry in k.image.exception_table),
    ]
    for _ in range(count):
        kind = rng.random()
        if kind < 0.75:
            symbol = rng.choice(symbols)
            yield {"symbol_name": symbol.name, "offset": rng.randrange(max(symbol.size, 1) + 8)}
        elif kind < 0.95 and special:
            yield {"addr": rng.choice(special) + rng.choice([0, 0, 1, 4])}
        else:
            yield rng.choice(
                [
                    {"symbol_name": "no_such_function"},
                    {"symbol_name": "no_module:function"},
                    {"symbol_name": "strlen", "offset": -4},
                    {"symbol_name": "strlen+4"},
                    {"symbol_name": "strlen+four"},
                    {"symbol_name": "strlen", "addr": 4},
                    {"addr": rng.getrandbits(64)},
                    {},
                ]
            )


def registered(register: Callable[[], object], remove: Callable[[], None]) -> Answer:
    try:
        register()
    except KprobeError as error:
        return error.errno or 0, error.reason, error.strerror
    remove()
    return 0, None, None


def plant(k: Kernel, interface: str, point: dict[str, object]) -> Answer:
    if interface == "kretprobe":
        rp = Kretprobe(**point)  # type: ignore[arg-type]
        return registered(lambda: k.register_kretprobe(rp), lambda: k.unregister_kretprobe(rp))
    if interface == "jprobe":
        jp = Jprobe(entry=lambda: None, **point)  # type: ignore[arg-type]
        return registered(lambda: k.register_jprobe(jp), lambda: k.unregister_jprobe(jp))
    p = Kprobe(**point)  # type: ignore[arg-type]
    return registered(lambda: k.register_kprobe(p), lambda: k.unregister_kprobe(p))


def compare(k: Kernel, interface: str, count: int) -> None:
    k.kprobes.init_memory.free()  # check() answers as a kernel that has booted
    differing = []
    for point in points(k, random.Random(f"{k.arch} {interface} {k.model.name}"), count):
        verdict: Verdict = k.check(**point, kretprobe=interface == "kretprobe")  # type: ignore[arg-type]
        asked = verdict.errno, verdict.reason, verdict.message
        answer = plant(k, interface, point)
        if answer != asked and not _safer(k, verdict, answer):
            differing.append((point, asked, answer))
    assert differing == []


def _safer(k: Kernel, verdict: Verdict, answer: Answer) -> bool:
    """Which of several symbols is meant must be said, where no kernel is imitated."""
    return not k.strict and verdict.same_named > 1 and answer[1] is Reason.AMBIGUOUS_SYMBOL


@pytest.mark.parametrize(
    ("interface", "model", "strict"),
    [
        ("kprobe", None, False),
        ("kprobe", "6.17", True),
        ("kretprobe", "6.17", True),
        ("kretprobe", "5.10", False),
        ("jprobe", "4.9", True),
        ("jprobe", None, False),
    ],
)
def test_on_a_sample(sample: Path, interface: str, model: str | None, strict: bool) -> None:
    compare(Kernel.load(sample, model=model, strict=strict), interface, 150)


@pytest.mark.real_kernel
@pytest.mark.parametrize("interface", ["kprobe", "kretprobe"])
def test_on_a_real_kernel(real_image: Path, interface: str) -> None:
    compare(Kernel.load(real_image, strict=True), interface, 150)


def test_fail_function_asks_the_same_lookup(guest: Kernel) -> None:
    for symbol in ("no_such_function", "mix", "strlen+four"):
        with pytest.raises(KprobeError) as override:
            guest.override_return(symbol)
        with pytest.raises(KprobeError) as register:
            guest.register_kprobe(Kprobe(symbol))
        assert override.value.as_dict() == register.value.as_dict()
    with pytest.raises(KprobeError) as override:
        guest.override_return("strlen+4")
    assert override.value.reason is Reason.NOT_FUNCTION_ENTRY
