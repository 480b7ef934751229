"""Whose kprobes are imitated: the table of models, and what differs between them."""

from __future__ import annotations

import errno
import re
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from kprobesim import (
    MODELS,
    Kernel,
    Kprobe,
    KprobeError,
    Reason,
    UsageError,
)
from kprobesim.kprobes.model import Arm64Model, Model, X86Model, model_of
from kprobesim.kprobes.model_facts import MODEL_NAMES
from kprobesim.kprobes.rules.address import check_address_safe
from kprobesim.kprobes.rules.blacklist import Blacklist
from kprobesim.kprobes.rules.site import Site

ROOT = Path(__file__).parent.parent.parent
X86 = ROOT / "samples" / "guest-x86_64.elf"


def _documented() -> dict[str, dict[str, str]]:
    """The tables of docs/models.md: field -> model -> value."""
    found: dict[str, dict[str, str]] = {}
    names: list[str] = []
    for line in (ROOT / "docs" / "models.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "field":
            names = cells[1 : 1 + len(MODELS)]
        match = re.fullmatch(r"`([\w.]+)`", cells[0])
        if match and len(cells) > len(names):
            found[match[1]] = dict(zip(names, cells[1:], strict=False))
    return found


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "-"
    if isinstance(value, frozenset):
        return " ".join(f"{byte:02x}" for byte in sorted(value)) or "-"
    if isinstance(value, tuple):
        return " ".join(value)
    return str(value or "-")


def test_the_document_has_the_data() -> None:
    data: dict[str, dict[str, str]] = {}
    for name, model in MODELS.items():
        for prefix, part in (("", model), ("x86.", model.x86), ("arm64.", model.arm64)):
            for field in fields(part):
                if field.name not in ("name", "x86", "arm64"):
                    value = _text(getattr(part, field.name))
                    data.setdefault(prefix + field.name, {})[name] = value
    assert _documented() == data


def test_every_field_tells_models_apart() -> None:
    """What is the same in all of them is no matter of the model."""
    for kind, parts in (
        (Model, list(MODELS.values())),
        (X86Model, [model.x86 for model in MODELS.values()]),
        (Arm64Model, [model.arm64 for model in MODELS.values()]),
    ):
        same = {f.name for f in fields(kind) if len({str(getattr(p, f.name)) for p in parts}) == 1}
        # Decided by kernels that are newer than the newest model, or true of all of these.
        expected = {
            Model: {"refuse_jump_labels"},
            X86Model: set(),
            Arm64Model: {"reenter_while_stepping", "nesting_saves_daif"},
        }
        assert same == expected[kind]


@pytest.mark.parametrize(
    ("version", "name"),
    [
        ((), "6.1"),
        ((2, 4, 20), "2.6"),
        ((3, 10, 0), "2.6"),
        ((4, 14), "4.9"),
        ((5, 4, 250), "5.4"),
        ((5, 9), "5.4"),
        ((5, 15, 190), "5.15"),
        ((6, 6), "6.6"),
        ((6, 1), "6.1"),
        ((6, 1, 192), "6.1"),
        ((6, 12, 117), "6.12"),
        ((6, 16), "6.15"),
        ((7, 2), "6.17"),
    ],
)
def test_the_default_follows_the_image(version: tuple[int, ...], name: str) -> None:
    assert model_of(version).name == name


@pytest.mark.parametrize("name", ["6", "5.11", "", 6.1])
def test_an_unknown_model_lists_the_known(sample: Path, name: object) -> None:
    with pytest.raises(UsageError, match=r"2\.6.*5\.4.*6\.17"):
        Kernel.load(sample, model=name)  # type: ignore[arg-type]


def test_stepping_follows_the_model_unless_told(sample: Path) -> None:
    assert Kernel.load(sample).stepping == "breakpoint"
    old = Kernel.load(sample, model="5.4")
    assert (old.model.name, old.strict, old.stepping) == ("5.4", False, "trap")
    assert Kernel.load(sample, model="5.4", stepping="breakpoint").stepping == "breakpoint"
    assert Kernel.load(sample, model="6.1", stepping="trap").stepping == "trap"


# -- what a model lacks ---------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("strict", [False, True])
def test_a_fault_handler(sample: Path, model: str, strict: bool) -> None:
    k = Kernel.load(sample, model=model, strict=strict)
    p = Kprobe("strlen", fault_handler=lambda p, regs, trapnr: 0)
    if strict and not MODELS[model].fault_handlers:
        with pytest.raises(KprobeError) as caught:
            k.register_kprobe(p)
        assert (caught.value.errno, caught.value.reason) == (
            errno.EINVAL,
            Reason.NOT_IN_THIS_KERNEL,
        )
    else:
        k.register_kprobe(p)


def test_an_offset_in_a_name_is_ours(sample: Path) -> None:
    offset = 4
    Kernel.load(sample).register_kprobe(Kprobe(f"strlen+{offset}"))
    with pytest.raises(KprobeError) as caught:
        Kernel.load(sample, strict=True).register_kprobe(Kprobe(f"strlen+{offset}"))
    assert caught.value.errno == errno.ENOENT


# -- errnos ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_unresolvable_places(sample: Path, model: str) -> None:
    k = Kernel.load(sample, model=model)
    expected = {
        "nosuch": errno.EINVAL if model == "2.6" else errno.ENOENT,
        0x1000: errno.ENOENT if MODELS[model].place_needs_symbol else errno.EINVAL,
    }
    for place, number in expected.items():
        p = Kprobe(place) if isinstance(place, str) else Kprobe(addr=place)  # type: ignore[arg-type]
        with pytest.raises(KprobeError) as caught:
            k.register_kprobe(p)
        assert caught.value.errno == number


def test_a_negative_offset_is_a_large_one(guest: Kernel) -> None:
    """``kprobe.offset`` is an unsigned int."""
    with pytest.raises(KprobeError) as caught:
        guest.register_kprobe(Kprobe("strlen", offset=-8))
    assert caught.value.errno == errno.ENOENT


def test_an_empty_batch(guest: Kernel) -> None:
    for register in (guest.register_kprobes, guest.register_kretprobes, guest.register_jprobes):
        with pytest.raises(KprobeError) as caught:
            register([])
        assert (caught.value.errno, caught.value.reason) == (errno.EINVAL, Reason.EMPTY_BATCH)
    for unregister in (
        *(guest.unregister_kprobes, guest.unregister_kretprobes, guest.unregister_jprobes),
    ):
        unregister([])


def _refusal(k: Kernel, symbol: str, offset: int, **image: object) -> tuple[int, Reason] | None:
    """What the checks of an address say, on an image with other tables."""
    real = k.image
    fake = SimpleNamespace(
        arch=real.arch,
        ftrace_sites=image.get("ftrace_sites", frozenset()),
        jump_labels=image.get("jump_labels", ()),
        static_calls=image.get("static_calls", ()),
        bug_table=SimpleNamespace(at=lambda address: image.get("bug")),
        is_kernel_text=real.is_kernel_text,
        init_text=real.init_text,
    )
    start = k.symbols["strlen"].address
    site = Site(start + offset, symbol, start, offset == 0)
    try:
        check_address_safe(fake, Blacklist(real, k.model), site, k.model, init_freed=False)  # type: ignore[arg-type]
    except KprobeError as error:
        assert error.errno is not None
        return error.errno, error.reason
    return None


def test_which_tables_are_asked(sample: Path) -> None:
    refusals: dict[str, set[str]] = {}
    for name in MODELS:
        k = Kernel.load(sample, model=name)
        address = k.symbols["strlen"].address
        asked = refusals.setdefault(name, set())
        for table in ("jump_labels", "static_calls"):
            if _refusal(k, "strlen", 0, **{table: (address,)}):
                asked.add(table)
        if _refusal(k, "strlen", 0, bug=object()):
            asked.add("bug")
        if _refusal(k, "__cfi_strlen", 0) == (errno.EINVAL, Reason.CFI_PREAMBLE):
            asked.add("cfi")
        assert _refusal(k, "strlen", 0) is None
    assert refusals["2.6"] == refusals["4.19"] == {"jump_labels"}
    assert refusals["5.4"] == {"jump_labels", "bug"}
    assert refusals["5.10"] == refusals["6.1"] == {"jump_labels", "bug", "static_calls"}
    assert refusals["6.17"] == refusals["6.1"] | {"cfi"}


@pytest.mark.parametrize("model", MODELS)
def test_inside_what_ftrace_patches(model: str) -> None:
    k = Kernel.load(X86, model=model)
    sites = frozenset({k.symbols["strlen"].address})
    found = [_refusal(k, "strlen", offset, ftrace_sites=sites) for offset in (0, 1, 4, 5)]
    inside = (
        (errno.EILSEQ, Reason.FTRACE_SITE)
        if model in ("4.9", "4.19", "5.4", "5.10", "5.15")
        else None
    )
    assert found == [None, inside, inside, None]


def test_the_names_are_those_of_the_models() -> None:
    assert tuple(MODELS) == MODEL_NAMES
