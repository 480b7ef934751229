"""What ``kprobesim race`` races: a kernel, memory and calls before, and what each CPU does."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kprobesim.cli.call import place_arguments
from kprobesim.cli.expression import Call, parse_calls
from kprobesim.cli.loading import load_kernel, load_kernel_image, progress
from kprobesim.errors import UsageError
from kprobesim.snapshot.container import is_snapshot

if TYPE_CHECKING:
    from kprobesim.kernel.booted import BootedKernel
    from kprobesim.kernel.called import CalledKernel
    from kprobesim.races.planned import PlannedCall

__all__ = ["Plan"]

_NAME = re.compile(r"\s*([A-Za-z_]\w*)\s*=(?!=)")
_MOST_CPUS = 8
_SECONDS = 120.0  # of this computer's, for a line of the shell


class Plan:
    """What the options ask for.

    Attributes:
        calls: What each CPU does, by its name.
        places: The addresses of the blocks, once :meth:`prepare` was called.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        """Read it; raises :class:`UsageError` for what makes no sense on any kernel."""
        self._args = args
        self.calls = _calls_by_name(args.calls)
        self._first = [call for text in args.first for call in parse_calls(text)]
        self._blocks = _blocks(args.blocks, self.calls)
        self.places: dict[str, int] = {}
        self._boots = args.boot or bool(args.lines)
        self._snapshot = is_snapshot(args.image)
        if self._snapshot and (args.boot or args.cpus is not None):
            option = "--boot" if args.boot else "--cpus"
            raise UsageError(f"{args.image} has booted: leave {option} out, it goes on")
        if args.cpus is not None and not self._boots:
            raise UsageError("--cpus is for kernels that boot: give --boot, too")
        if args.modules and (self._snapshot or self._boots):
            raise UsageError(
                "--module is for kernels whose functions are called; a booted one loads its own: "
                f"--run 'modprobe {Path(args.modules[0]).stem}'"
            )
        if self._boots and args.symbols is not None:
            raise UsageError("--symbols is for kernels whose functions are called: leave it out")

    def open(self) -> CalledKernel | BootedKernel:
        """The kernel, ready: raises our errors."""
        kernel = self._booted() if self._boots else self._loaded()
        taken = {*self.calls} & {*inspect.signature(kernel.race).parameters}
        if taken:
            raise UsageError(f"no CPU can be called {min(taken)}: that is the name of an option")
        return kernel

    def _loaded(self) -> CalledKernel | BootedKernel:
        from kprobesim.kernel.booted import BootedKernel
        from kprobesim.kernel.called import CalledKernel

        kernel = load_kernel(self._args)
        if isinstance(kernel, BootedKernel):
            return kernel
        assert isinstance(kernel, CalledKernel)
        for module in self._args.modules:
            kernel.load_module(module)
        return kernel

    def _booted(self) -> BootedKernel:
        from kprobesim.asking.booted import booted_kernel
        from kprobesim.asking.modules import module_files, named_modules
        from kprobesim.asking.shell import Shell
        from kprobesim.image.modules.finder import ModuleFinder

        args, tell = self._args, progress()
        if self._snapshot:
            kernel = booted_kernel(args.image)
        else:
            image, names = load_kernel_image(args), named_modules(args.lines)
            finder = ModuleFinder(image, tell) if names else None
            found = [name for name in names if finder is not None and finder.find(name)]
            files = module_files(finder, found) if finder is not None else None
            cpus = len(self.calls) if args.cpus is None else args.cpus
            kernel = booted_kernel(args.image, files, image=image, cpus=cpus, progress=tell)
        for line in args.lines:
            status, said = Shell(kernel).run(line, _SECONDS)
            if status:
                raise UsageError(f"--run {line!r} ended with {status}: {' '.join(said.split())}")
        return kernel

    def prepare(self, kernel: CalledKernel | BootedKernel) -> dict[str, list[PlannedCall]]:
        """What each CPU is to call, once memory is there and all calls before are made."""
        self.places = {name: kernel.alloc(size) for name, size in self._blocks.items()}
        for call in self._first:
            planned = _planned(kernel, call, self.places)
            kernel.call(planned.function, *planned.arguments)
        return {
            name: [_planned(kernel, call, self.places) for call in calls]
            for name, calls in self.calls.items()
        }


def _calls_by_name(texts: list[str]) -> dict[str, tuple[Call, ...]]:
    plan: dict[str, tuple[Call, ...]] = {}
    if len(texts) > _MOST_CPUS:
        raise UsageError(f"{len(texts)} CPUs: give calls for 1 to {_MOST_CPUS}")
    for number, text in enumerate(texts):
        named = _NAME.match(text)
        name = named[1] if named else chr(ord("a") + number)
        if name in plan:
            raise UsageError(f"two CPUs are called {name}: give each a name of its own")
        plan[name] = parse_calls(text[named.end() :] if named else text)
    return plan


def _blocks(texts: list[str], plan: Mapping[str, object]) -> dict[str, int]:
    """Sizes by name."""
    blocks: dict[str, int] = {}
    for text in texts:
        name, _, size = text.partition("=")
        if not (name.isidentifier() and size.isascii() and size.isdigit()) or not int(size[:18]):
            raise UsageError(f"--block {text}: write a name and a number of bytes, as in m=64")
        if name in plan or name in blocks:
            raise UsageError(f"--block {text}: {name} is the name of something else already")
        blocks[name] = int(size[:18])
    return blocks


def _planned(
    kernel: CalledKernel | BootedKernel, call: Call, places: Mapping[str, int]
) -> PlannedCall:
    """A call with its arguments as they are passed; memory for them stays."""
    from kprobesim.races.planned import PlannedCall

    values, _ = place_arguments(kernel, call.arguments, places)
    return PlannedCall(call.function, tuple(values))
