"""``kprobesim info``: what a kernel image is and what it holds."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.console import Console

from kprobesim.cli.commands import COMMANDS
from kprobesim.cli.console import make_console, print_json, styled
from kprobesim.cli.loading import add_image_options, load_kernel_image
from kprobesim.errors import ImageError
from kprobesim.image import KernelImage, Segment
from kprobesim.kprobes.model import MODELS, Model, known_model, model_of
from kprobesim.kprobes.model_facts import own_facts
from kprobesim.kprobes.rules.own_code import own_model
from kprobesim.snapshot.container import is_snapshot

__all__ = ["add_parser", "run"]

_EPILOG = """\
example:
  kprobesim info vmlinux
  kprobesim info linux-image-6.1.0-56-cloud-amd64.deb --json
  kprobesim info booted.kps
"""

#: The letters of nm(1), small for a local symbol.
_KINDS = {
    "t": "text",
    "w": "weak",
    "v": "weak",
    "i": "ifunc",
    "d": "data",
    "r": "rodata",
    "b": "bss",
    "a": "absolute",
}


def add_parser(subparsers: Any) -> None:
    """Declare the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "info",
        help=COMMANDS["info"],
        description="Show architecture, version, memory layout, symbols and tables of an image.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_image_options(parser)
    parser.add_argument(
        "--model", choices=tuple(MODELS), help="show the facts of this model, not the image's own"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do it; raises our errors."""
    image = load_kernel_image(args)
    facts = _facts(image, known_model(args.model) or _own_model(image))
    if is_snapshot(args.image):
        from kprobesim.kernel.snapshots import describe  # it knows boards, and brings the emulator

        facts = {"snapshot": describe(args.image), **facts}
    if args.json:
        print_json(facts)
    else:
        _print(make_console(), facts)
    return 0


def _own_model(image: KernelImage) -> Model:
    """By the version alone if the symbols are damaged, which is told beside."""
    try:
        return own_model(image)
    except ImageError:
        return model_of(image.version)


def _facts(image: KernelImage, model: Model) -> dict[str, Any]:
    """Everything as plain data; addresses as hex strings."""
    symbols: dict[str, Any]
    try:
        table = image.symbols
        kinds = Counter(_KINDS.get(symbol.type.lower(), "other") for symbol in table)
        symbols = {"count": len(table), "source": table.source, "kinds": dict(kinds.most_common())}
    except ImageError as error:
        symbols = {"count": 0, "source": None, "kinds": {}, "problem": error.problem}
    return {
        "file": str(image.path),
        "arch": image.arch,
        "release": image.release or None,
        "banner": image.banner or None,
        "container": image.container,
        "build_id": image.build_id,
        "preemptible": image.preemptible,
        "model": {"name": model.name, **own_facts(model)},
        "entry": f"{image.entry:#x}",
        "segments": [_segment(segment) for segment in image.segments],
        "regions": [
            {
                "start": f"{region.start:#x}",
                "end": f"{region.end:#x}",
                "size": region.end - region.start,
                "kind": region.kind,
            }
            for region in image.regions
        ],
        "text": [_range(pair) for pair in image.text_ranges],
        "init_text": _range(image.init_text) if image.init_text else None,
        "symbols": symbols,
        "tables": {
            "exception_table": len(image.exception_table),
            "bug_table": len(image.bug_table),
            "mcount_sites": len(image.mcount_sites),
            "kprobe_blacklist": len(image.kprobe_blacklist),
        },
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "name": segment.name,
        "start": f"{segment.vaddr:#x}",
        "end": f"{segment.end:#x}",
        "size": segment.memsz,
        "file_size": len(segment.data),
        "physical": f"{segment.paddr:#x}",
        "permissions": ("r" if segment.readable else "-")
        + ("w" if segment.writable else "-")
        + ("x" if segment.executable else "-"),
    }


def _range(pair: tuple[int, int]) -> dict[str, Any]:
    return {"start": f"{pair[0]:#x}", "end": f"{pair[1]:#x}", "size": pair[1] - pair[0]}


# -- for people --------------------------------------------------------------------------------


def _print(console: Console, facts: dict[str, Any]) -> None:
    symbols, tables = facts["symbols"], facts["tables"]

    def line(name: str, text: str, style: str = "") -> None:
        console.print(styled((f"{name:<12}", "cyan"), (text, style)))

    if "snapshot" in facts:
        _print_snapshot(line, facts["snapshot"])
    line("file", facts["file"])
    line("kind", f"{facts['container']}, {facts['arch']}", "bold")
    line("release", facts["release"] or "unknown: it has no banner", "bold")
    if facts["banner"]:
        line("banner", facts["banner"].strip())
    line("preemptible", "yes" if facts["preemptible"] else "no")
    line("kprobes", f"as in kernels like {facts['model']['name']} (docs/models.md)")
    if facts["build_id"]:
        line("build id", facts["build_id"])
    line("entry", facts["entry"])
    if symbols["count"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in symbols["kinds"].items())
        line("symbols", f"{symbols['count']} from {symbols['source']}: {kinds}")
    else:
        line("symbols", f"none: {symbols.get('problem', 'the table is empty')}", "yellow")
    for text in facts["text"]:
        line("text", _extent(text))
    if facts["init_text"]:
        line("init text", _extent(facts["init_text"]))
    names = {
        "exception_table": "exceptions",
        "bug_table": "BUG and WARN",
        "mcount_sites": "ftrace sites",
        "kprobe_blacklist": "NOKPROBE_SYMBOL",
    }
    line("tables", ", ".join(f"{name} {tables[key]}" for key, name in names.items()))
    console.print(styled(("segments", "cyan")))
    for segment in facts["segments"]:
        console.print(styled(f"  {_extent(segment)} {segment['permissions']}  {segment['name']}"))
    console.print(styled(("regions", "cyan")))
    for region in facts["regions"]:
        console.print(styled(f"  {_extent(region)} {region['kind']}"))


def _print_snapshot(line: Callable[[str, str], None], facts: dict[str, Any]) -> None:
    pages = _size(facts["stored_pages"] << 12)
    line("snapshot", f"{facts['file']}, {_size(facts['size'])}, {pages} unpacked")
    line("memory", _size(facts["memory"]))
    if facts["model"] is not None:
        line("model", facts["model"] + (", strict" if facts["strict"] else ""))
    line("time", f"{facts['time']:.6f} s after power-on")
    line("console", facts["console"] or "nothing printed yet")
    for probe in facts["probes"]:
        offset = f"+{probe['offset']:#x}" if probe["offset"] else ""
        missed = f", {probe['nmissed']} missed" if probe["nmissed"] else ""
        line("probe", f"{probe['symbol'] or ''}{offset} at {probe['address']}{missed}".lstrip())


def _extent(place: dict[str, Any]) -> str:
    return f"{place['start']:>18}-{place['end']:<18} {_size(place['size']):>10}"


def _size(size: int) -> str:
    if size < 1 << 10:
        return f"{size} B"
    if size < 1 << 20:
        return f"{size / (1 << 10):.1f} KiB"
    return f"{size / (1 << 20):.1f} MiB"
