"""``kprobesim types``: structs, enums, typedefs and prototypes of a kernel, in C."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import error_console, make_console, styled
from kprobesim.cli.loading import add_image_options, progress
from kprobesim.errors import ImageError, KprobesimError, UsageError
from kprobesim.image.files.source import open_file, read_file
from kprobesim.image.modules.file import module_name, read_module
from kprobesim.image.symbols.nearest import nearest_names
from kprobesim.survey.known import KnownKernel, open_known
from kprobesim.types.as_data import as_data
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import definition
from kprobesim.types.header import MAGIC
from kprobesim.types.model import Enum, Forward, Struct, Type, Typedef, Union
from kprobesim.types.module_types import module_types

__all__ = ["add_parser", "run"]

_EPILOG = """\
A NAME is that of a function, struct, union, enum or typedef; 'struct file', 'union x', 'enum x'
or 'typedef x' asks for just that. MODULE:NAME looks into a module of the package or build tree
of IMAGE, too; IMAGE may also be BTF alone, or a catalogue. Offsets and sizes are in bytes,
/* offset size */, and of a bit field /* offset:bit size */. With --json, each type is one line.

exit status: 0 if every name was found, 1 if one was not, 2 for wrong use.

examples:
  kprobesim types vmlinux 'struct file' vfs_read
  kprobesim types linux-image-6.1.0-57-cloud-amd64-unsigned.deb virtio_blk:virtio_blk
  kprobesim types vmlinux --module drivers/block/virtio_blk.ko 'struct virtio_blk'
  kprobesim types /sys/kernel/btf/vmlinux pid_t --json
"""
_FOUND, _NOT_FOUND = 0, 1
_KINDS: dict[str, tuple[type[Type], ...]] = {
    "struct": (Struct, Forward),
    "union": (Union, Forward),
    "enum": (Enum,),
    "typedef": (Typedef,),
}
_MOST_TYPES = 256 << 20  # bytes of BTF in a file


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "types",
        help=COMMANDS["types"],
        description="Print types of a kernel in C, from the BTF that it carries.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument("names", metavar="NAME", nargs="+", help="what to print; see below")
    parser.add_argument(
        "--module",
        metavar="MODULE",
        help="look into this module, too: a name, or a .ko file",
    )
    parser.add_argument(
        "--no-offsets", action="store_true", help="print the plain C, without any comments"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors. The exit code tells whether all was found."""
    asked = _Asked(args)
    console = make_console()
    code = _FOUND
    first = True
    for name in args.names:
        try:
            texts = [
                json.dumps(as_data(each)) if args.json else definition(each, not args.no_offsets)
                for each in asked.named(name)
            ]
        except KprobesimError as error:
            error_console().print(styled((f"{name}: ", "bold red"), str(error)))
            code = _NOT_FOUND
            continue
        for text in texts:
            if args.json:
                print(text)
                continue
            if not first:
                console.print()
            first = False
            _show(console, text)
    return code


class _Asked:
    """The types that the options name."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._path = Path(args.image)
        self._kernel: KnownKernel | None = None
        if bytes(open_file(self._path)[: len(MAGIC)]) == MAGIC:
            data = read_file(self._path, _MOST_TYPES, "BTF")
            self._btf = Btf(data, source=self._path.name)
        else:
            self._kernel = open_known(args.image, symbols=args.symbols, progress=progress())
            self._btf = self._kernel_types(self._kernel)
        self._types = self._btf  # the kernel's; the other is a module's if one is named
        self._modules: dict[str, Btf] = {}
        if args.module is not None:
            self._btf = self._module(args.module)

    def _kernel_types(self, kernel: KnownKernel) -> Btf:
        if kernel.btf is None:
            raise ImageError(
                kernel.path, "carries no types: it was built without CONFIG_DEBUG_INFO_BTF"
            )
        return kernel.btf

    def named(self, text: str) -> list[Type]:
        """All types that ``text`` may mean."""
        module, colon, rest = text.strip().rpartition(":")
        if not rest.strip() or rest.strip() in _KINDS or (colon and not module):
            raise UsageError("names no type: write vfs_read, 'struct file' or MODULE:NAME")
        btf = self._module(module) if colon else self._btf
        word, _, name = rest.strip().rpartition(" ")
        if word and word.strip() not in _KINDS:
            raise UsageError("write a name, or one behind struct, union, enum or typedef")
        found = btf.named(name, *_KINDS.get(word.strip(), ()))
        if colon:  # the module's own, if it has some
            found = [each for each in found if each.btf is btf] or found
        defined = [each for each in found if not isinstance(each, Forward)]
        if not found:
            raise UsageError(self._missing(btf, rest.strip(), name))
        return defined or found

    def _module(self, name: str) -> Btf:
        known = self._modules.get(name)
        if known is None:
            known = self._modules[name] = self._read_module(name)
        return known

    def _read_module(self, name: str) -> Btf:
        if Path(name).suffix and Path(name).exists():
            file = read_module(Path(name))
            section, base = file.section(".BTF"), file.section(".BTF.base")
            if section is None:
                raise _no_types(name)
            distilled = None if base is None else file.contents(base)
            return module_types(file.contents(section), distilled, self._types, module_name(name))
        if self._kernel is None:
            raise UsageError(f"{self._path} is types alone: name the module's .ko file")
        found = self._kernel.module_btf(name)
        if found is None:
            raise _no_types(name)
        return found

    def _missing(self, btf: Btf, wanted: str, name: str) -> str:
        """What to say of a name that nothing has."""
        others = sorted({_full_name(each) for each in btf.named(name)})
        if others:
            return f"there is no such type, but {', '.join(others)}"
        names = {each.encode() for each in btf.names}
        if btf.base is not None:
            names.update(each.encode() for each in btf.base.names)
        modules = self._kernel.modules_with(name) if self._kernel is not None else ()
        if modules:
            return f"no type is called {name}; a function of {modules[0]} is: {modules[0]}:{name}"
        near = [each.decode() for each in nearest_names(name.encode(), names, 3)]
        hint = f"; do you mean {' or '.join(near)}?" if near else ""
        return f"no type is called {name}{hint}"


def _no_types(module: str) -> UsageError:
    return UsageError(f"module {module_name(module)} carries no types of its own")


def _full_name(type: Type) -> str:
    """``struct file``; of what needs no word before it, the name."""
    if isinstance(type, Forward):
        return f"{'union' if type.is_union else 'struct'} {type.name} (declared only)"
    if isinstance(type, (Struct, Union, Typedef)):
        return f"{type.kind} {type.name}"
    if isinstance(type, Enum):
        return f"enum {type.name}"
    words = {"func": "function", "var": "variable", "datasec": "section", "fwd": "struct"}
    return f"{words.get(type.kind, type.kind)} {type.name}"


def _show(console: Console, text: str) -> None:
    """C with its comments in grey; a hole stands out."""
    for line in text.split("\n"):
        code, mark, comment = line.partition("/* ")
        style = "yellow" if comment.startswith("XXX") else "dim"
        console.print(styled(code.expandtabs(8), (mark + comment, style)))
