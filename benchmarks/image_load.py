"""What loading a kernel image costs: time and memory, each image in a process of its own.

    python benchmarks/image_load.py vmlinux vmlinuz linux-image.deb [--json]

Times are in seconds since before ``load_image``, memory is the growth of the resident set in MiB
over that of Python with kprobesim.image imported. The file is in the page cache.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.images[0])))
        return 0
    if not options.json:
        print(f"{'load':>7} {'+symbols':>9} {'RSS':>8} {'+tables':>8} {'RSS':>8}  image")
    failed = 0
    for image in options.images:
        command = [sys.executable, __file__, "--here", image]
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        if child.returncode:
            failed = 1
            print(f"{image}: {child.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        elif options.json:
            print(child.stdout.strip())
        else:
            row = json.loads(child.stdout)
            print(
                f"{row['load_s']:6.2f}s {row['symbols_s']:8.2f}s {row['rss_mib']:5.0f}MiB "
                f"{row['tables_s']:7.2f}s {row['tables_rss_mib']:5.0f}MiB  "
                f"{row['release']} {row['container']}"
            )
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
