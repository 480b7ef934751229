"""Programs that make no sense get one clear error, and leave no probe behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kprobesim import CalledKernel, KprobeError, KprobesimError, UsageError
from kprobesim.programs import (
    Count,
    Linear,
    Program,
    Record,
    arg,
    comm,
    const,
    duration,
    reg,
    retval,
)


def _behind(k: CalledKernel, function: str) -> str:
    """A place behind the first instructions of a function."""
    start = k.symbols[function].address
    places = (f"{function}+{offset}" for offset in range(5, 12) if k.check(addr=start + offset))
    return next(places)


BAD: dict[str, tuple[Callable[[CalledKernel], object], str]] = {
    "unknown register": (lambda k: k.count("gcd", key=reg("eax")), "there is no register 'eax'"),
    "argument 9": (lambda k: k.sum("gcd", arg(9)), r"argument 9 is on the stack: . are in reg"),
    "argument -1": (lambda k: k.sum("gcd", arg(-1)), "counted from 0"),
    "argument in the middle": (
        lambda k: k.record(_behind(k, "gcd"), a=arg(0)),
        "an argument at a function's first instruction only",
    ),
    "unknown function": (lambda k: k.count("gdc"), "gdc"),
    "a glob that matches nothing": (lambda k: k.count("zzz_*"), r"zzz_\*"),
    "no function": (lambda k: k.count([]), "no function is named"),
    "a number as a function": (lambda k: k.count(3.5), "names no functions"),  # type: ignore[call-overload]
    "text and number": (lambda k: k.count("gcd", when=comm == 3), "the types .* do not fit"),
    "text as a number": (lambda k: k.sum("gcd", comm), "comm is a string"),
    "text as a condition": (lambda k: k.count("gcd", when=comm), "the condition comm is a string"),
    "mixed signs": (lambda k: k.count("gcd", when=arg(0).s32 < arg(1)), "do not fit"),
    "never true": (lambda k: k.count("gcd", when=arg(0) < -1), "-1 is no u64"),
    "truth and number": (lambda k: k.count("gcd", when=(arg(0) > 1) & arg(1)), "do not fit"),
    "and": (lambda k: k.count("gcd", when=arg(0) > 1 and arg(1) > 1), "combine conditions by &"),
    "power": (lambda k: k.sum("gcd", arg(0) ** 2), r"has no powers: 1 << x"),
    "power of two": (lambda k: k.sum("gcd", 2 ** arg(0)), r"has no powers: 1 << x"),
    "abs": (lambda k: k.sum("gcd", abs(arg(0).s32)), r"select\(x < 0, -x, x\)"),
    "int": (lambda k: k.sum("gcd", int(arg(0))), r"\.u32, \.s64"),
    "hex": (lambda k: k.sum("gcd", hex(arg(0))), r"\.u32, \.s64"),  # type: ignore[arg-type]
    "float": (lambda k: k.sum("gcd", float(arg(0))), "no fractions"),  # type: ignore[arg-type]
    "divmod": (lambda k: k.sum("gcd", divmod(arg(0), 3)[0]), "a field each"),
    "a text's pointer": (lambda k: k.record("gcd", a=comm.deref(0)), "a pointer is needed"),
    "65 bits": (lambda k: k.count("gcd", when=arg(0) == 1 << 64), "more than 64 bits"),
    "far shift": (lambda k: k.sum("gcd", arg(0) << 64), "shift by 0 to 63"),
    "no value": (lambda k: k.sum("gcd", None), "NoneType, not what is added up"),
    "keys": (lambda k: k.count("gcd", key=(const(0).string.upto(300),)), "the key .* 304 bytes"),
    "no field": (lambda k: k.record("gcd"), "a record of 0 fields"),
    "bad field": (lambda k: k.record("gcd", fields={"a b": arg(0)}), "'a b' cannot be"),
    "keyword": (lambda k: k.record("gcd", fields={"from": arg(0)}), "'from' cannot be"),
    "fields": (lambda k: k.record("gcd", fields=[arg(0)]), "as a dict"),  # type: ignore[arg-type]
    "one name in two spellings": (
        lambda k: k.record("gcd", fields={"a": arg(0), "\u00aa": arg(1)}),
        "cannot be a field's name",
    ),
    "no text": (lambda k: k.count("gcd", when=comm == "\ud800"), "is no text"),
    "a text as key": (lambda k: k.count("gcd", key="comm"), "the same at each hit"),
    "a fraction": (lambda k: k.sum("gcd", arg(0) / 2), "// divides integers"),
    "a fraction below a number": (lambda k: k.sum("gcd", 2 / arg(0)), "// divides integers"),
    "in": (lambda k: k.count("gcd", when="a" in arg(0).string), "compare by =="),
    "in between": (lambda k: k.count("gcd", when=1 < arg(0) < 5), "combine conditions by &"),
    "returns": (lambda k: k.count("gcd", returns="no"), "returns 'no': give True"),  # type: ignore[call-overload]
    "compiled": (lambda k: k.count("gcd", compiled="no"), "compiled 'no': give True"),  # type: ignore[call-overload]
    "no actions": (lambda k: Program(None), "None is no action"),  # type: ignore[arg-type]
    "no capacity": (lambda k: k.record("gcd", a=arg(0), capacity=0), "capacity 0"),
    "huge ring": (lambda k: k.record("gcd", a=arg(0), capacity=1 << 40), "more than 1 GiB"),
    "full": (lambda k: k.record("gcd", a=arg(0), full="block"), "full is drain or drop"),  # type: ignore[arg-type]
    "steps": (lambda k: k.histogram("gcd", arg(0), linear=(0, 10, 3)), "a number of steps"),
    "two numbers": (lambda k: k.histogram("gcd", arg(0), linear=(0, 10)), "three integers"),  # type: ignore[arg-type]
    "two scales": (lambda k: k.histogram("gcd", arg(0), log2=True, linear=(0, 4, 2)), "choose one"),
    "many steps": (lambda k: Linear(0, 1 << 20, 1), "more than 4094 steps"),
    "bound": (lambda k: arg(0).string.upto(1), "2 to 4096"),
    "no action": (lambda k: Program([]), "a program of 0 actions"),
    "wrong action": (lambda k: Program([arg(0)]), "no action"),  # type: ignore[list-item]
    "no program": (lambda k: k.plant("gcd", Count()), "give a Program"),  # type: ignore[arg-type]
    "not at the entry": (lambda k: Program(Record({"r": retval}), returns=False), "not known at"),
    "no duration": (lambda k: Program(Count(duration), returns=False), "not known at"),
    "max_keys": (lambda k: k.count("gcd", key=arg(0), max_keys=0), "max_keys 0"),
    "blacklisted": (lambda k: k.count("noprobe_listed"), "noprobe_listed"),
}


@pytest.mark.parametrize("what", BAD)
def test_it_is_refused(guest: CalledKernel, what: str) -> None:
    plant, message = BAD[what]
    with pytest.raises(KprobesimError, match=message) as caught:
        plant(guest)
    assert isinstance(caught.value, (UsageError, KprobeError))
    assert len(guest.kprobes) == 0
