"""Options that several commands have, each declared once, and what their values may be."""

from __future__ import annotations

import argparse
import math

__all__ = [
    "add_boot_options",
    "add_cpus_option",
    "add_debug_option",
    "add_end_options",
    "add_files_option",
    "add_run_option",
    "add_timeout_option",
    "positive_int",
    "seconds",
]

_LONGEST = 1e6  # seconds

_Declared = argparse._ActionsContainer  # a parser, or a group of its options


def add_run_option(parser: _Declared, *, boots: str, then: str, several: bool = True) -> None:
    """``--run``, whose value is a line for a shell in the guest.

    Args:
        parser: What to add it to.
        boots: How the kernel comes to its shell.
        then: What is done with the line.
        several: Whether it may be repeated: the values are ``lines``, else the value is ``line``.
    """
    how = {"action": "append", "default": [], "dest": "lines"} if several else {"dest": "line"}
    again = " (may be repeated)" if several else ""
    parser.add_argument("--run", metavar="LINE", help=f"boot {boots}{again}, and {then}", **how)


def add_debug_option(parser: _Declared, *, tells: str, several: bool = False) -> None:
    """``--debug``, a file with a kernel's debug information.

    Args:
        parser: What to add it to.
        tells: What it is good for.
        several: Whether there may be one for each kernel: the value is a list.
    """
    how = {"action": "append", "default": []} if several else {}
    again = "; may be repeated" if several else ""
    parser.add_argument(
        "--debug",
        metavar="FILE",
        help="the vmlinux with the kernel's debug information, or its -dbg package, for "
        f"{tells}{again}",
        **how,  # type: ignore[arg-type]
    )


def add_files_option(parser: _Declared, *, writes: str) -> None:
    """``-o F``, as often as one likes: the names are ``files``.

    Args:
        parser: Where it is declared.
        writes: What is written, behind "write F".
    """
    parser.add_argument(
        "-o",
        "--output",
        metavar="F",
        dest="files",
        action="append",
        default=[],
        help=f"write F{writes}",
    )


def add_timeout_option(
    parser: _Declared, does: str, *, default: float | None = None, more: str = ""
) -> None:
    """``--timeout``, in seconds of this computer's time.

    Args:
        parser: What to add it to.
        does: What happens then: "give up", "end".
        default: The value without it.
        more: What else is to be said of it.
    """
    parser.add_argument(
        "--timeout",
        metavar="S",
        type=seconds,
        default=default,
        help=f"{does} after S seconds of this computer's time{more}",
    )


def add_end_options(parser: _Declared, does: str) -> None:
    """``--until`` and ``--seconds``: what ends a run of a guest.

    Args:
        parser: What to add them to.
        does: "stop" or "end".
    """
    parser.add_argument("--until", metavar="TEXT", help=f"{does} when this is on the console")
    parser.add_argument(
        "--seconds", metavar="S", type=seconds, help=f"{does} after S seconds of the guest's time"
    )


def add_boot_options(
    parser: _Declared, *, only: str = "", initrd: str = "", cpus: str = ""
) -> None:
    """``--initrd``, ``--append`` and ``--cpus``: what a kernel boots with.

    Args:
        parser: What to add them to.
        only: When they have a meaning, if not always.
        initrd: What else is to be said of the first.
        cpus: When the last has a meaning, if not always.
    """
    parser.add_argument("--initrd", metavar="F", help=f"{only}an initial RAM file system{initrd}")
    parser.add_argument(
        "--append", metavar="S", default="", help=f"{only}the kernel's command line"
    )
    add_cpus_option(parser, only=cpus)


def add_cpus_option(parser: _Declared, *, only: str = "", default: str = "") -> None:
    """``--cpus``: how many CPUs a guest boots with.

    Args:
        parser: What to add it to.
        only: When it has a meaning, if not always.
        default: How many without it, in words; the value is ``None`` then. By default 1.
    """
    parser.add_argument(
        "--cpus",
        metavar="N",
        type=positive_int,
        default=None if default else 1,
        help=f"{only}how many CPUs, 1 to 8 (default {default or 1})",
    )


def seconds(text: str) -> float:
    """An option's value as a time; for ``argparse``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return value


def positive_int(text: str) -> int:
    """An option's value as a count; for ``argparse``."""
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)
