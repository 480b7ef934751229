"""What it takes to go on from a snapshot, beside booting to the same place.

    python benchmarks/resume.py vmlinuz-amd64 vmlinuz-arm64 [--until TEXT] [--rounds N] [--json]

``boot`` and ``resume`` are whole Python processes, from their start to the next block of guest
instructions; ``inside`` is ``Kernel.resume`` alone, ``import`` Python with kprobesim imported and
nothing done. All take turns, and medians count. The file is in the page cache, and modules are
compiled, as after an installation. Then the guest's RAM is packed alone, at each level.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zstandard

HERE = """\
import sys, time
start = time.perf_counter()
from kprobesim import Kernel
{make}
made = time.perf_counter() - start
k.run(lambda k: k.time > now, seconds=1e-6)
print(made)
"""
BOOT = "k = Kernel.boot({image!r}); k.run({until!r}, timeout=None); now = k.time"
RESUME = "start = time.perf_counter(); k = Kernel.resume({file!r}); now = k.time"
LEVELS = (-1, 1, 2, 3)
FRAME = 16 * 4096


def run(code: str, cache: str) -> tuple[float, float]:
    """Seconds of the whole process, and what it printed."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = cache
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    start = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - start, float(child.stdout or 0)


def measure(image: str, until: str, rounds: int) -> dict[str, object]:
    """One kernel: its snapshot, and medians of all times."""
    from kprobesim import Kernel

    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "booted.kps")
        kernel = Kernel.boot(image)
        kernel.run(until, timeout=None)
        start = time.perf_counter()
        kernel.snapshot(file)
        row: dict[str, object] = {
            "image": Path(image).name,
            "release": kernel.version,
            "snapshot_s": round(time.perf_counter() - start, 3),
            "file_mib": round(Path(file).stat().st_size / (1 << 20), 1),
        }
        boot = HERE.format(make=BOOT.format(image=image, until=until))
        resume = HERE.format(make=RESUME.format(file=file))
        times: dict[str, list[float]] = {"boot": [], "resume": [], "inside": [], "import": []}
        for number in range(rounds + 1):
            booted, _ = run(boot, folder)
            resumed, inside = run(resume, folder)
            imported, _ = run("import kprobesim", folder)
            if number:  # the first round compiles the modules
                for name, value in zip(times, (booted, resumed, inside, imported), strict=True):
                    times[name].append(value)
        row |= {f"{name}_s": round(statistics.median(t), 3) for name, t in times.items()}
        ratios = [b / r for b, r in zip(times["boot"], times["resume"], strict=True)]
        row["ratio"] = round(statistics.median(ratios), 1)
        row["ram"] = pack(bytes(kernel.board.ram))
    return row


def pack(ram: bytes) -> list[dict[str, object]]:
    """The blocks that are not zero, raw and packed: size, and seconds both ways."""
    blocks = [ram[at : at + FRAME] for at in range(0, len(ram), FRAME)]
    blocks = [block for block in blocks if block.count(0) != len(block)]
    rows: list[dict[str, object]] = [{"level": "raw", "mib": round(len(blocks) / 16, 1)}]
    unpack = zstandard.ZstdDecompressor().decompress
    for level in LEVELS:
        compress = zstandard.ZstdCompressor(level=level).compress
        start = time.perf_counter()
        packed = [compress(block) for block in blocks]
        middle = time.perf_counter()
        for block in packed:
            unpack(block)
        end = time.perf_counter()
        rows.append(
            {
                "level": level,
                "mib": round(sum(map(len, packed)) / (1 << 20), 1),
                "pack_s": round(middle - start, 3),
                "unpack_s": round(end - middle, 3),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+")
    parser.add_argument("--until", default="Run /init", help="boot to this text on the console")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    options = parser.parse_args()
    if not options.json:
        print("    boot    resume  ratio   inside   import  snapshot     file  kernel")
    for image in options.images:
        row = measure(image, options.until, options.rounds)
        if options.json:
            print(json.dumps(row))
            continue
        print(
            f"{row['boot_s']:7.2f}s {row['resume_s']:8.3f}s {row['ratio']:5.1f}x "
            f"{row['inside_s']:7.3f}s {row['import_s']:7.3f}s {row['snapshot_s']:8.2f}s "
            f"{row['file_mib']:5.1f}MiB  {row['release']}"
        )
        for line in row["ram"]:  # type: ignore[attr-defined]
            speed = (
                f", packed in {line['pack_s']:.3f} s, unpacked in {line['unpack_s']:.3f} s"
                if "pack_s" in line
                else ""
            )
            print(f"    RAM, zstd level {line['level']}: {line['mib']} MiB{speed}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
