"""What loading a kernel image costs: time and memory, each image in a process of its own.

    python benchmarks/image_load.py vmlinux vmlinuz linux-image.deb [--json]

``load`` is ``load_image`` alone, then the symbols and the kernel's tables are read; ``Kernel.load``
is everything at once, up to a machine that can be called, again in a process of its own, and
``again`` the same when the unpacked image was kept by an earlier process. Memory is the growth of
the resident set in MiB over that of Python with kprobesim imported. The file is in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def resident() -> float:
    """Resident set of this process in MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def measure(path: str) -> dict[str, object]:
    """Load one image here and look symbols up both ways."""
    from kprobesim.image import load_image

    before = resident()
    start = time.perf_counter()
    image = load_image(path)
    loaded = time.perf_counter() - start
    symbol = image.symbols["vfs_read"]
    found = image.symbols.at(symbol.address + 4)
    assert found is not None
    assert found.offset == 4
    looked_up = time.perf_counter() - start
    memory = resident() - before
    counts = {
        "symbols": len(image.symbols),
        "exceptions": len(image.exception_table),
        "bugs": len(image.bug_table),
        "mcount_sites": len(image.mcount_sites),
        "blacklist": len(image.kprobe_blacklist),
        "regions": len(image.regions),
    }
    return {
        "image": Path(path).name,
        "container": image.container,
        "release": image.release,
        "load_s": round(loaded, 3),
        "symbols_s": round(looked_up, 3),
        "rss_mib": round(memory, 1),
        "tables_s": round(time.perf_counter() - start, 3),
        "tables_rss_mib": round(resident() - before, 1),
        **counts,
    }


def measure_kernel(path: str) -> dict[str, object]:
    """What a user pays: ``Kernel.load`` and one call."""
    from kprobesim import Kernel

    before = resident()
    start = time.perf_counter()
    kernel = Kernel.load(path)
    loaded = time.perf_counter() - start
    assert kernel.call("strlen", "hello") == 5
    return {"kernel_s": round(loaded, 3), "kernel_rss_mib": round(resident() - before, 1)}


def measure_again(path: str) -> dict[str, object]:
    """What a user pays who has loaded it before."""
    return {"again_s": measure_kernel(path)["kernel_s"]}


MEASURES = {"image": measure, "kernel": measure_kernel, "again": measure_again}


def run(here: str, image: str, cache: str) -> subprocess.CompletedProcess[str]:
    """Measure in a process of its own; ``cache`` is its KPROBESIM_CACHE."""
    command = [sys.executable, __file__, "--here", here, image]
    environment = {**os.environ, "KPROBESIM_CACHE": cache}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--here", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(MEASURES[options.here](options.images[0])))
        return 0
    if not options.json:
        print("   load  +symbols      RSS  +tables      RSS  Kernel.load      RSS   again  image")
    failed = 0
    for image in options.images:
        row: dict[str, float | str] = {}
        with tempfile.TemporaryDirectory(prefix="kprobesim-") as cache:
            children = [run(here, image, "off") for here in ("image", "kernel")]
            run("kernel", image, cache)
            children.append(run("again", image, cache))
        for child in children:
            if child.returncode:
                failed = 1
                print(f"{image}: {child.stderr.strip().splitlines()[-1]}", file=sys.stderr)
                break
            row |= json.loads(child.stdout)
        else:
            if options.json:
                print(json.dumps(row))
                continue
            print(
                f"{row['load_s']:6.2f}s {row['symbols_s']:8.2f}s {row['rss_mib']:5.0f}MiB "
                f"{row['tables_s']:7.2f}s {row['tables_rss_mib']:5.0f}MiB "
                f"{row['kernel_s']:11.2f}s {row['kernel_rss_mib']:5.0f}MiB "
                f"{row['again_s']:6.2f}s  "
                f"{row['release']} {row['container']}"
            )
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
