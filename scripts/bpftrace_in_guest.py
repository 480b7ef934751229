"""Run Debian's bpftrace in a booted guest: the kernel's BPF compiler writes code there, and LLVM.

    python scripts/bpftrace_in_guest.py IMAGE [PROGRAM]

bpftrace and the libraries that it needs are fetched with APT and make the initial file system (200
MiB unpacked), with BusyBox. PROGRAM is ``kprobe:vfs_read { @ = count(); }``; it is interrupted
after some reads, and has to print how many it counted. The exit status is 0 if it did.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from kprobesim import Kernel, KprobesimError  # noqa: E402
from kprobesim.boot.initramfs import (  # noqa: E402
    Entry,
    character_device,
    directory,
    make_cpio,
    regular_file,
    symbolic_link,
)
from kprobesim.fetch.apt import Apt  # noqa: E402
from kprobesim.fetch.cache import FetchError, cache_directory  # noqa: E402
from kprobesim.fetch.kernels import Fetcher  # noqa: E402

PROGRAM = "kprobe:vfs_read { @ = count(); }"
MEMORY = "1G"
SECONDS = 600
WANTED = ("bin/", "lib/", "lib64/", "usr/bin/bpftrace", "usr/lib/")
INIT = """#!/bin/busybox sh
export PATH=/bin:/usr/bin HOME=/ BPFTRACE_STRLEN=64
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
echo 0 > /proc/sys/kernel/printk
bpftrace -e '%s' > /out 2>&1 &
touch /out
until grep -q Attaching /out || ! kill -0 $!; do sleep 0.2; done
sleep 1
for n in 1 2 3 4 5 6 7 8 9 10; do dd if=/proc/version of=/dev/null 2> /dev/null; done
kill -INT $!
wait $!
echo "bpftrace ended: $?"
cat /out
echo "bpftrace guest end"
poweroff -f
"""


def packages(apt: Apt, first: str) -> dict[str, str]:
    """``first`` and all that it depends on, with their versions."""
    found: dict[str, str] = {}
    ahead = [first]
    while ahead:
        new = apt.versions([name for name in ahead if name not in found])
        found |= new
        ahead = [
            re.split(r"[ (:|]", one.strip())[0]
            for name in new
            for one in apt.depends(name).split(",")
            if one.strip()
        ]
        ahead = [name for name in dict.fromkeys(ahead) if name not in found]
    return found


def package_files(arch: str, package: str, wanted: tuple[str, ...]) -> dict[str, bytes | Entry]:
    """The files of a package and of all that it depends on, below the folders ``wanted``."""
    folder = cache_directory() / "packages"
    folder.mkdir(parents=True, exist_ok=True)
    apt = Apt(arch, folder)
    apt.update()
    files: dict[str, bytes | Entry] = {}
    with tempfile.TemporaryDirectory() as root:
        for name, version in packages(apt, package).items():
            file = folder / f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
            if not file.exists():
                print(f"fetching {name} {version}", file=sys.stderr)
                apt.download(name, version, file)
            apt.extract(file, root)
        for path in sorted(Path(root).rglob("*")):
            inside = str(path.relative_to(root))
            if not inside.startswith(wanted) or "/gconv/" in inside:
                continue
            if path.is_symlink():
                files[inside] = symbolic_link(str(path.readlink()))
            elif path.is_file():
                files[inside] = regular_file(path.read_bytes(), 0o755)
    return files


def make_initrd(arch: str, files: dict[str, bytes | Entry], init: str) -> bytes:
    """An initial file system of ``files``, BusyBox and a script to start with."""
    for name in ("dev", "proc", "sys", "tmp"):
        files[name] = directory()
    files["bin/busybox"] = regular_file(Fetcher(arch).busybox().read_bytes(), 0o755)
    files["init"] = regular_file(init.encode(), 0o755)
    files["dev/console"] = character_device(5, 1)
    return make_cpio(files)


def main() -> int:
    """Boot, and look at what bpftrace said."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("program", nargs="?", default=PROGRAM)
    options = parser.parse_args()
    image = Kernel.load(options.image).image
    files = package_files(image.arch, "bpftrace", WANTED)
    initrd = make_initrd(image.arch, files, INIT % options.program.replace("'", "'\\''"))
    kernel = Kernel.boot(options.image, initrd=initrd, append="quiet", memory=MEMORY)
    kernel.run(until="bpftrace guest end", timeout=SECONDS)
    said = kernel.console.text
    print(said)
    counted = re.search(r"^@: (\d+)", said, re.MULTILINE)
    return 0 if counted and int(counted[1]) >= 10 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KprobesimError, FetchError, OSError) as error:
        sys.exit(f"{error}")
