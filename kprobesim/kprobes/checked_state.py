"""Whether plain data can be the probes of a snapshot: looked at before a guest is made."""

from __future__ import annotations

from typing import Any

from kprobesim.errors import UsageError
from kprobesim.sizes import MASK64

__all__ = ["SITE", "check_probes"]

_CODE = 16  # longer than any instruction
SITE: dict[str, type] = {
    "address": int,
    "symbol": str,
    "symbol_start": int,
    "on_func_entry": bool,
    "has_exception_entry": bool,
    "has_post_handler": bool,
    "ftrace": bool,
}
"""What is known of a place, and of which type it is."""

_PROBE: dict[str, type] = {"addr": int, "offset": int, "flags": int, "nmissed": int, "opcode": int}


def check_probes(state: Any) -> list[dict[str, Any]]:
    """The probes in ``state``; raises :class:`UsageError` if ``save_probes()`` gave no such."""
    try:
        for name in ("init_freed", "all_disarmed"):
            _require(type(state[name]) is bool, name)
        if state["probes"]:
            from kprobesim.kprobes.kprobe import KprobeFlag
        for probe in state["probes"]:
            for name, kind in _PROBE.items():
                _require(type(probe[name]) is kind and probe[name] <= MASK64, name)
            _require(0 <= probe["flags"] < 2 * KprobeFlag.ON_FUNC_ENTRY, "flags")
            _require(probe["symbol_name"] is None or type(probe["symbol_name"]) is str, "symbol")
            gone = probe["flags"] & KprobeFlag.GONE
            _require(gone or str(probe["addr"]) in state["sites"], "place")
        for key, site in state["sites"].items():
            for name, kind in SITE.items():
                _require(type(site[name]) is kind, name)
            _require(key == str(site["address"]) and 0 <= site["address"] <= MASK64, "address")
            _require(0 <= site["symbol_start"] <= site["address"], "symbol_start")
            _require(type(site["code"]) is bytes and 0 < len(site["code"]) <= _CODE, "code")
        probes: list[dict[str, Any]] = state["probes"]
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"the list of probes is damaged ({error!r})") from error
    return probes


def _require(sound: bool, what: str) -> None:
    if not sound:
        raise ValueError(f"its {what} cannot be")
