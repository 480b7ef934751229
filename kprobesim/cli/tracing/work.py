"""What a kernel does while it is traced: calls, a boot, lines for its shell, or what goes on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Protocol

from kprobesim.asking.booted import booted_kernel
from kprobesim.asking.modules import module_files, named_modules, probed_modules
from kprobesim.asking.shell import READY, Shell
from kprobesim.boot.faults import GuestEnd
from kprobesim.boot.initramfs import Entry
from kprobesim.cli.call import place_arguments
from kprobesim.cli.console import error_console, escaped, styled
from kprobesim.cli.expression import parse_call
from kprobesim.cli.loading import load_kernel, load_kernel_image, progress
from kprobesim.errors import UsageError
from kprobesim.image import KernelImage
from kprobesim.image.modules.finder import ModuleFinder
from kprobesim.kernel.base import Kernel
from kprobesim.kernel.booted import BootedKernel
from kprobesim.machine.faults import GuestTimeout
from kprobesim.snapshot.container import is_snapshot

__all__ = ["Recorder", "Work", "choose_work"]

_CALL_TIMEOUT, _TIMEOUT = 10.0, 300.0  # seconds of this computer's time


class Recorder(Protocol):
    """Who records meanwhile."""

    def begin(self) -> None:
        """Record from now on."""

    def pause(self) -> None:
        """Record nothing until :meth:`begin`."""

    def pump(self) -> bool:
        """Pass on what was recorded since the last time; whether that is enough."""


class Work(Protocol):
    """One way to let a kernel work."""

    def open(self) -> Kernel:
        """The kernel, before it does anything; raises our errors."""

    def do(self, kernel: Kernel, recorder: Recorder) -> str:
        """Let it work, recorded from where that makes sense; how it ended."""


def choose_work(args: argparse.Namespace) -> Work:
    """The one that the options say.

    Raises:
        UsageError: They say none, or more than one.
    """
    chosen = {"calls behind --": args.calls, "--boot": args.boot, "--run": args.lines}
    named = [name for name, wanted in chosen.items() if wanted]
    if len(named) > 1:
        raise UsageError(f"{named[0]} and {named[1]} are both given: choose one")
    resumed = is_snapshot(args.image)
    if args.boot and resumed:
        raise UsageError(f"{args.image} has booted: leave --boot out, it goes on")
    if not named and not resumed:
        raise UsageError(
            "say what the kernel is to do: a call behind -- ('strlen(\"hello\")'), --boot, or "
            "--run 'ls /proc'"
        )
    _refuse(args, "--initrd", args.initrd, not args.boot, "--boot")
    _refuse(args, "--append", args.append, not args.boot, "--boot")
    calls, lines = bool(args.calls), bool(args.lines)
    _refuse(args, "--cpus", args.cpus != 1, not (args.boot or lines), "--boot and --run")
    _refuse(args, "--until", args.until, calls or lines, "--boot and snapshots")
    _refuse(args, "--seconds", args.seconds, calls or lines, "--boot and snapshots")
    if args.boot or lines:
        stepping = args.stepping or args.arming != "auto"
        _refuse(args, "--arming or --stepping", stepping, True, "kernels that are called")
    if lines:
        own = args.model or args.strict
        _refuse(args, "--model or --strict", own, True, "calls and --boot")
        return _Lines(args)
    if calls:
        return _Calls(args)
    return _Boot(args) if args.boot else _Resume(args)


def _refuse(
    args: argparse.Namespace, option: str, given: object, elsewhere: bool, where: str
) -> None:
    if given and elsewhere:
        raise UsageError(f"{option} is for {where}")


class _Calls:
    """Functions are called, in an image or in a guest that has booted."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._calls = [(text, parse_call(text)) for text in args.calls]

    def open(self) -> Kernel:
        """See :meth:`Work.open`."""
        return load_kernel(self._args)

    def do(self, kernel: Kernel, recorder: Recorder) -> str:
        """See :meth:`Work.do`."""
        recorder.begin()
        for text, call in self._calls:
            values, _ = place_arguments(kernel, call.arguments)
            timeout = self._args.timeout or _CALL_TIMEOUT
            result = kernel.call(call.function, *values, timeout=timeout)
            done = recorder.pump()
            if not self._args.json:
                error_console().print(styled((f"{text} = {result:#x}", "dim")))
            if done:
                break
        return ""


class _Boot:
    """It boots, until it ends or the options say so."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    def open(self) -> Kernel:
        """See :meth:`Work.open`."""
        args = self._args
        return Kernel.boot(
            load_kernel_image(args),
            initrd=args.initrd,
            append=args.append,
            memory=args.memory or None,
            cpus=args.cpus,
            model=args.model,
            strict=args.strict,
        )

    def do(self, kernel: Kernel, recorder: Recorder) -> str:
        """See :meth:`Work.do`."""
        assert isinstance(kernel, BootedKernel)
        recorder.begin()
        return _go_on(kernel, self._args, recorder.pump)


class _Resume(_Boot):
    """A snapshot goes on."""

    def open(self) -> Kernel:
        """See :meth:`Work.open`."""
        return load_kernel(self._args)


def _go_on(kernel: BootedKernel, args: argparse.Namespace, pump: Callable[[], bool]) -> str:
    """Let a guest run on."""
    output, start = kernel.console.output, len(kernel.console.output)
    wanted, enough = (args.until or "").encode(), False

    def has_come() -> bool:
        return bool(wanted) and output.find(wanted, start) >= 0

    def ask(_kernel: BootedKernel) -> bool:
        nonlocal enough
        enough = pump()
        return enough or has_come()

    try:
        reason = kernel.run(ask, timeout=args.timeout or _TIMEOUT, seconds=args.seconds)
    except GuestTimeout:
        if args.timeout is None:
            raise
        return f"{args.timeout:g} s are over, at {kernel.time:.6f} s of the guest's time"
    except GuestEnd:
        if wanted and not has_come():
            raise UsageError(f"{args.until!r} did not come: {kernel.board.ended}") from None
        return f"{kernel.board.ended}, at {kernel.time:.6f} s"
    if enough:
        return ""
    if has_come():
        return f"{args.until!r} came, at {kernel.time:.6f} s"
    if wanted:
        raise UsageError(f"{args.until!r} did not come: {reason}; see --until and --seconds")
    return f"{reason}, at {kernel.time:.6f} s"


class _Lines:
    """Its shell does what it is told."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    def open(self) -> Kernel:
        """See :meth:`Work.open`."""
        args = self._args
        if is_snapshot(args.image):
            if args.cpus != 1:
                raise UsageError(f"--cpus is for images: {args.image} is a snapshot, with its own")
            kernel = load_kernel(args)
            assert isinstance(kernel, BootedKernel)
            if READY.encode() not in kernel.console.output:
                raise UsageError(
                    f"{args.image} was not booted to our shell, which --run tells what to do: give "
                    "the image itself, or a snapshot whose console says kprobesim-shell waits"
                )
            return kernel
        image = load_kernel_image(args)
        return booted_kernel(
            args.image,
            self._modules(image),
            image=image,
            memory=args.memory or "256M",
            cpus=args.cpus,
            progress=progress(),
        )

    def _modules(self, image: KernelImage) -> dict[str, bytes | Entry]:
        """The files of the modules that events and lines name, as far as they are to be had."""
        probed = probed_modules(wanted.definition for wanted in self._args.events)
        names = {*probed, *named_modules(self._args.lines)}
        if not names:
            return {}
        finder = ModuleFinder(image, progress())
        return module_files(finder, [name for name in names if finder.find(name) is not None])

    def do(self, kernel: Kernel, recorder: Recorder) -> str:
        """See :meth:`Work.do`."""
        assert isinstance(kernel, BootedKernel)
        shell, timeout = Shell(kernel), self._args.timeout or _TIMEOUT
        for line in self._args.lines:
            status, said = shell.run(line, timeout, begin=recorder.begin, enough=recorder.pump)
            recorder.pause()
            sys.stderr.write(escaped(said.replace("\r", "").lstrip("\n")))
            if status is None:
                return ""
            if status:
                console = error_console()
                console.print(styled(("kprobesim: ", "bold red"), f"{line!r} ended with {status}"))
        return ""
