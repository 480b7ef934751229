"""Every error that leaves the package: it is found by name, is copied whole, and crosses a pool."""

from __future__ import annotations

import copy
import importlib
import json
import multiprocessing
import pickle
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import kprobesim
from kprobesim import (
    FilterError,
    GuestMemoryError,
    GuestStop,
    HistError,
    Kernel,
    KprobeError,
    KprobesimError,
    Reason,
    SymbolError,
    SyntheticError,
    TracefsError,
    Trap,
    TrapKind,
    TriggerError,
)
from kprobesim.boot.faults import BootError
from kprobesim.cli.expression import ExpressionError
from kprobesim.dynevent.error import ProbeEventError
from kprobesim.errors import (
    BpfObjectError,
    CatalogError,
    ImageError,
    MemberError,
    SnapshotError,
    TypesError,
)
from kprobesim.machine.faults import GuestBug, GuestFault, GuestLimit

_INTERNAL = {
    "CannotRelocate",
    "CompressionError",
    "HandlerAbandoned",
    "HandlerOverstayed",
    "LzopError",
    "NotCompiledError",
    "PackingError",
    "PagesError",
    "Refused",
    "RelocationError",
    "SourceError",
    "TripleFault",
    "Undecodable",
    "YamlError",
    "_EnoughError",
    "_Stopped",
    "_TooMuch",
}
"""What one room tells another; nobody outside sees it."""
_CTRL_C = {"RaceInterrupted"}
"""Ctrl-C with something to say: no error, and caught by who catches Ctrl-C."""


def _modules() -> Iterator[str]:
    for module in pkgutil.walk_packages(kprobesim.__path__, "kprobesim."):
        if not module.name.startswith("kprobesim.bench") and not module.name.endswith("__main__"):
            yield module.name


def _heirs(kind: type[Any]) -> Iterator[type[Any]]:
    for heir in kind.__subclasses__():
        if heir.__module__.startswith("kprobesim."):
            yield heir
        yield from _heirs(heir)


def _all_errors() -> list[type[KprobesimError]]:
    for name in _modules():
        importlib.import_module(name)
    return [KprobesimError, *dict.fromkeys(_heirs(KprobesimError))]


_Maker = Callable[..., KprobesimError]
_STOP = ("pc+0x5", ["? first+0x0", "second+0x1"])
_MAKERS: dict[type, Callable[[type, object], KprobesimError]] = {
    KprobesimError: lambda kind, _: kind("wrong"),
    ImageError: lambda kind, _: kind("a/file", "is none"),
    SnapshotError: lambda kind, _: kind("a/file", "is none"),
    BpfObjectError: lambda kind, _: kind("a/file", "is none"),
    CatalogError: lambda kind, _: kind("a/file", "is none"),
    TypesError: lambda kind, _: kind("a module", "are damaged"),
    MemberError: lambda kind, _: kind("struct file", "f_pot", ["f_pos"]),
    SymbolError: lambda kind, _: kind("name", "there is none", ["names"]),
    GuestMemoryError: lambda kind, _: kind(0x1000, 8, "read"),
    KprobeError: lambda kind, _: kind(
        22, Reason.BLACKLISTED, "no", symbol="irq_entry", address=0xFFFF_0000
    ),
    ProbeEventError: lambda kind, _: kind(
        22, "p f %no", "BAD_REG_NAME", "Invalid register name", 4
    ),
    FilterError: lambda kind, _: kind(22, "len >", "INVALID_VALUE", 4),
    HistError: lambda kind, _: kind(22),
    SyntheticError: lambda kind, _: kind(22, "e u7 x", "INVALID_TYPE", "u7"),
    TracefsError: lambda kind, _: kind(22, "no number"),
    TriggerError: lambda kind, _: kind(22),
    ExpressionError: lambda kind, _: kind("no number", "f(x)", 2),
    GuestStop: lambda kind, regs: kind("stopped", regs, *_STOP),
    GuestFault: lambda kind, regs: kind(
        Trap(TrapKind.PAGE_FAULT, 14, 2, 0x10, "write"), regs, *_STOP
    ),
    GuestBug: lambda kind, regs: kind(Trap(TrapKind.UNDEFINED, 6), regs, *_STOP, "a.c", 7),
    GuestLimit: lambda kind, regs: kind("over", regs, *_STOP, instructions=5),
    BootError: lambda kind, regs: kind("gone", regs, *_STOP, "the last\nwords", ["a hint"]),
}
"""By the nearest base that is here: each error is made as the package makes it."""


@pytest.fixture
def errors(guest: Kernel) -> list[KprobesimError]:
    """One of each kind."""
    regs = guest.machine.regs.copy()
    made = []
    for kind in _all_errors():
        base = next(base for base in kind.__mro__ if base in _MAKERS)
        made.append(_MAKERS[base](kind, regs))
    return made


def _seen(error: KprobesimError) -> object:
    """All that somebody can tell of an error."""
    values = {
        name: repr(value) for name, value in {**vars(error)}.items() if not name.startswith("_")
    }
    return type(error), str(error), error.args, values, getattr(error, "errno", None)


def test_each_error_is_copied_whole(errors: list[KprobesimError]) -> None:
    assert len(errors) > 20
    for error in errors:
        error.add_note("a note")  # type: ignore[attr-defined]
        for copied in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), copy.copy(error)):
            assert _seen(copied) == _seen(error)
            if isinstance(error, GuestStop):
                assert json.dumps(copied.as_dict()) == json.dumps(error.as_dict())  # type: ignore[union-attr]
                assert copied.oops() == error.oops()  # type: ignore[union-attr]


def _raise(error: KprobesimError) -> None:
    raise error


def test_each_error_crosses_a_process_pool(errors: list[KprobesimError]) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        for error in errors:
            with pytest.raises(type(error)) as caught:
                pool.apply_async(_raise, (error,)).get(timeout=20)
            assert _seen(caught.value) == _seen(error)


def test_each_error_can_be_imported_and_every_other_exception_is_internal() -> None:
    for kind in _all_errors():
        if not kind.__module__.startswith("kprobesim.cli"):
            assert getattr(kprobesim, kind.__name__, None) is kind, kind
            assert kind.__name__ in kprobesim.__all__
    others = {kind for kind in _heirs(BaseException) if not issubclass(kind, KprobesimError)}
    assert {kind.__name__ for kind in others} <= _INTERNAL | _CTRL_C
