"""The registered probes as plain data, and registering them again on the same kernel later.

They are not judged again: they were accepted once, and by now the code may be gone that they are
on (a kernel frees its ``__init`` functions), or patched. Handlers are functions of a process and
are not saved: new probes bring theirs along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from kprobesim.arch.refused import Refused
from kprobesim.errors import UsageError
from kprobesim.kprobes.arming.hook import HookArming
from kprobesim.kprobes.checked_state import SITE, check_probes
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.rules.site import Site

if TYPE_CHECKING:
    from kprobesim.kprobes.manager import KprobesManager

__all__ = ["load_probes", "save_probes"]


def save_probes(manager: KprobesManager) -> dict[str, Any]:
    """All probes in order of registration, and the instructions they are on.

    Raises :class:`UsageError` if there are return probes or jprobes among them.
    """
    hooks = _hooks(manager)
    probes = [p for p in manager if not p.is_stored_by_others]
    if not all(p.is_stored for p in probes):
        raise UsageError(
            "unregister return probes and jprobes first: their handlers and pending returns "
            "cannot be stored"
        )
    sites = {}
    for p in probes:
        prepared = hooks.prepared(p.addr or 0)
        if prepared is not None:
            site, code = prepared
            sites[str(p.addr)] = {**asdict(site), "code": code}
    return {
        "probes": [
            {
                "symbol_name": p.symbol_name,
                "addr": p.addr,
                "offset": p.offset,
                "flags": int(p.flags),
                "nmissed": p.nmissed,
                "opcode": p.opcode,
            }
            for p in probes
        ],
        "sites": sites,
        "init_freed": manager.init_memory.freed,
        "all_disarmed": manager.enabled.all_disarmed,
    }


def load_probes(
    manager: KprobesManager,
    state: Any,
    probes: Sequence[Kprobe],
    register: Callable[[Sequence[Kprobe]], object] | None = None,
    made: Mapping[int, Kprobe] = MappingProxyType({}),
) -> None:
    """Register what ``state`` holds with a manager that has no probes, and then ``probes``.

    One of ``probes`` that names the place of a saved one (in the same words, or by address) takes
    its place instead, with its count of misses and its flags; the others are registered as ever,
    by ``register``, if it is there. ``made`` are probes that stand for saved ones, by number.
    Raises :class:`UsageError` for a damaged state and :class:`KprobeError` for refused probes.
    """
    new = list(probes)
    for number, saved in enumerate(check_probes(state)):
        p = made.get(number) or _taken(new, saved)
        if p is None:
            p = Kprobe(saved["symbol_name"], offset=saved["offset"])
        p.addr = saved["addr"]
        p.flags = KprobeFlag(saved["flags"])
        p.nmissed = saved["nmissed"]
        p.opcode = saved["opcode"]
        ainsn = None
        site = state["sites"].get(str(p.addr))
        if site is not None and manager.get_kprobe(saved["addr"]) is None:
            facts = {name: site[name] for name in SITE}
            try:
                ainsn = _hooks(manager).adopt(Site(**facts), site["code"])
            except Refused as refused:
                raise UsageError(f"the list of probes is damaged: {refused.message}") from None
        manager.adopt(p, ainsn)
    manager.init_memory.freed = state["init_freed"]
    if state["all_disarmed"]:
        manager.disarm_all_kprobes()
    if new:
        (register or manager.register_kprobes)(new)


def _hooks(manager: KprobesManager) -> HookArming:
    if manager.arming != "hook":
        raise UsageError("probes can be saved where they are hooks: those of a booted kernel")
    if manager.breakpoints:
        raise UsageError(
            "unregister the probes first that are armed by breakpoints: those are in the guest's "
            "memory, and their slots in pages of its own"
        )
    return manager.hooks


def _taken(new: list[Kprobe], saved: dict[str, Any]) -> Kprobe | None:
    for p in new:
        by_name = p.symbol_name is not None and p.symbol_name == saved["symbol_name"]
        same = (by_name and p.offset == saved["offset"] and p.addr in (None, saved["addr"])) or (
            p.symbol_name is None and p.addr is not None and p.addr + p.offset == saved["addr"]
        )
        if same:
            new.remove(p)
            return p
    return None
