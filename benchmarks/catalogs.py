"""What a catalogue costs, and what it saves: building one, opening it, asking many at once.

    python benchmarks/catalogs.py linux-image.deb ... [--probes N] [--kernels N] [--json]
    python benchmarks/catalogs.py FOLDER-OF-CATALOGUES
    python benchmarks/catalogs.py --sample

Each figure is the processor time of a process of its own, imports included, and the most memory
that it had. The probes are functions of the first kernel, every tenth somewhere in the middle of
one, every twentieth a name that no kernel has; they are asked of every catalogue, and of the files
that the catalogues were made of, unpacked anew. With ``--kernels`` the catalogues are copied until
there are so many.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).resolve().parents[1]
SAMPLES = [SOURCES / "samples" / f"guest-{arch}.elf" for arch in ("x86_64", "arm64")]


def measured(work: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What ``work`` returns, the processor seconds and the MiB of a process that does only that."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, work, arguments).result()


def _measure(work: Callable[..., Any], arguments: tuple[Any, ...]) -> dict[str, Any]:
    result = work(*arguments)
    return {
        "result": result,
        "seconds": round(time.process_time(), 3),  # of the whole process, its start included
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }


def build(kernel: str, folder: str) -> str:
    """Make one catalogue."""
    from kprobesim.survey.build import build_catalog

    (built,) = build_catalog([kernel], folder)
    if built.file is None:
        raise SystemExit(f"{built}")
    return str(built.file)


def opened(kernel: str) -> float:
    """Open one and ask it one thing; the seconds of that alone."""
    import pyarrow.parquet  # noqa: F401 - is loaded once, however many are opened

    from kprobesim.survey.known import open_known

    start = time.process_time()
    open_known(kernel).rules.check("schedule", suggest=False)
    return round(time.process_time() - start, 4)


def probes_of(kernel: str, count: int) -> list[str]:
    """So many probes, most of them at functions of ``kernel``."""
    from kprobesim.survey.known import open_known

    names = sorted({s.name for s in open_known(kernel).symbols.functions() if s.name[0] != "_"})
    chosen = names[:: max(1, len(names) // count)][:count]
    return [
        f"{name}+8" if i % 10 == 9 else f"{name}_no" if i % 20 == 10 else name
        for i, name in enumerate(chosen)
    ]


def ask(probes: list[str], kernels: list[str]) -> int:
    """Judge all probes on all kernels; how many answers there are."""
    from kprobesim.compat.run import compatibility
    from kprobesim.sources.read import read_text

    found = compatibility([read_text("\n".join(probes), Path("probes.txt"))], kernels)
    return len(found.answers)


def main() -> int:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kernels", nargs="*", metavar="KERNEL", help="packages, or catalogues")
    parser.add_argument("--probes", type=int, default=100, help="how many (100)")
    parser.add_argument("--kernels", dest="many", type=int, default=0, help="at least so many")
    parser.add_argument("--sample", action="store_true", help="measure the sample guests instead")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each figure")
    args = parser.parse_args()
    os.environ["KPROBESIM_CACHE"] = "off"  # what was unpacked before would be another's work

    def tell(what: str, figure: dict[str, Any]) -> None:
        if args.json:
            print(json.dumps({"what": what, **figure}))
        else:
            print(f"{what:56} {figure['seconds']:9.2f} s {figure['mib']:6} MiB")

    sources = [str(path) for path in SAMPLES] if args.sample else args.kernels
    files = [
        str(file)
        for name in sources
        for file in (sorted(Path(name).glob("*.parquet")) if Path(name).is_dir() else [name])
    ]
    if not files:
        parser.error("name kernels or catalogues, or --sample")
    with tempfile.TemporaryDirectory() as folder:
        catalogs = []
        for number, file in enumerate(files):
            if file.endswith(".parquet"):
                catalogs.append(file)
                continue
            figure = measured(build, file, f"{folder}/{number}")
            catalogs.append(figure["result"])
            figure["bytes"] = Path(figure["result"]).stat().st_size
            tell(f"build {Path(file).name[:50]}", figure)
        figure = measured(opened, catalogs[0])
        tell(f"open one and ask ({figure['result'] * 1000:.0f} ms but for imports)", figure)
        probes = measured(probes_of, catalogs[0], args.probes)["result"]
        figure = measured(ask, probes, catalogs[:1])
        tell(f"{len(probes)} probes x 1 catalogue", figure)
        for number in range(len(catalogs), args.many):
            copy = f"{folder}/{number}.parquet"
            shutil.copy(catalogs[number % len(files)], copy)
            catalogs.append(copy)
        figure = measured(ask, probes, catalogs)
        tell(f"{len(probes)} probes x {len(catalogs)} catalogues", figure)
        images = [file for file in files if not file.endswith(".parquet")]
        if images:
            figure = measured(ask, probes, images)
            tell(f"{len(probes)} probes x {len(images)} kernels, without catalogues", figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
