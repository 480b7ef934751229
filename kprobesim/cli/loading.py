"""The options by which every command names a kernel image, and loading what they name."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from kprobesim.cli.console import error_console, styled
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage, load_image
from kprobesim.kprobes.model import MODELS
from kprobesim.snapshot.container import is_snapshot

if TYPE_CHECKING:
    from kprobesim.kernel.base import Kernel
    from kprobesim.kernel.offline import KernelRules

__all__ = [
    "add_image_options",
    "add_machine_options",
    "add_model_options",
    "load_kernel",
    "load_kernel_image",
    "open_rules",
    "progress",
]


def add_image_options(parser: argparse.ArgumentParser) -> None:
    """IMAGE, ``--symbols`` and ``--json``."""
    parser.add_argument(
        "image",
        metavar="IMAGE",
        help="a vmlinux, bzImage, ARM64 Image or Debian linux-image package, or a snapshot",
    )
    parser.add_argument(
        "--symbols",
        metavar="FILE",
        help="where the symbols are: another ELF, a System.map or a copy of /proc/kallsyms",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """``--model`` and ``--strict``."""
    parser.add_argument(
        "--model",
        choices=tuple(MODELS),
        help="the kernel whose kprobes to imitate (default: the image's own)",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="imitate it also where it is wrong, and refuse what it does not have",
    )


def add_machine_options(parser: argparse.ArgumentParser) -> None:
    """``--memory``, ``--arming``, ``--stepping``, ``--model`` and ``--strict``."""
    add_model_options(parser)
    parser.add_argument(
        "--memory", metavar="M", default="", help="RAM of the guest: 512M, 2G (default: enough)"
    )
    parser.add_argument(
        "--arming",
        choices=("auto", "breakpoint", "hook"),
        default="auto",
        help="how probes are armed: by INT3 or BRK in guest memory, or by hooks, which change no "
        "byte (default: hooks, unless --stepping, --model or --strict ask for a kernel's own way)",
    )
    parser.add_argument(
        "--stepping",
        choices=("breakpoint", "trap"),
        help="how a copied instruction is stepped: by the breakpoint behind it, as current kernels "
        "do, or by the CPU's single-step trap, as older ones (default: as the model does)",
    )


def load_kernel_image(args: argparse.Namespace) -> KernelImage:
    """The image that the options name, without a machine around it."""
    return load_image(args.image, symbols=args.symbols, progress=progress())


def load_kernel(args: argparse.Namespace) -> Kernel:
    """The kernel that the options name: an image that is ready to be called, or a snapshot."""
    if is_snapshot(args.image):
        return _resume(args)
    from kprobesim.kernel.base import Kernel

    memory: int | str = getattr(args, "memory", "") or 0
    if isinstance(memory, str) and memory.isascii() and memory.isdigit():
        memory = int(memory[:20])
    return Kernel.load(
        args.image,
        symbols=args.symbols,
        stepping=getattr(args, "stepping", None),
        arming=getattr(args, "arming", "auto"),
        model=getattr(args, "model", None),
        strict=getattr(args, "strict", False),
        memory=memory,
        progress=progress(),
    )


def open_rules(args: argparse.Namespace) -> KernelRules:
    """The kernel that the options name, to be asked and read only: without a CPU."""
    from kprobesim.kernel import offline

    return offline.open_rules(
        args.image,
        symbols=args.symbols,
        model=args.model,
        strict=args.strict,
        progress=progress(),
    )


def _resume(args: argparse.Namespace) -> Kernel:
    defaults = {"symbols": None, "memory": "", "stepping": None, "arming": "auto"}
    for option, default in defaults.items():
        if getattr(args, option, default) != default:
            raise UsageError(f"--{option} is for images; {args.image} is a snapshot, with its own")
    from kprobesim.kernel.base import Kernel

    return Kernel.resume(
        args.image,
        model=getattr(args, "model", None),
        strict=getattr(args, "strict", False) or None,
        progress=progress(),
    )


def progress() -> Callable[[str], None] | None:
    """Tells somebody who waits at a terminal what takes so long; scripts hear nothing."""
    if not sys.stderr.isatty():
        return None
    console = error_console()
    return lambda text: console.print(styled((f"kprobesim: {text}", "dim")))
