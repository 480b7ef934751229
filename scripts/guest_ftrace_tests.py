"""What the kernel's own ftrace tests ask of kprobes, asked in a guest with probes of ours beside.

    python scripts/guest_ftrace_tests.py IMAGE BUSYBOX [--alone] [--cpus N]

The behaviour is that of tools/testing/selftests/ftrace/test.d/kprobe (Linux 6.12), told in our own
words: a shell script in the guest (``guest_ftrace_tests.sh``) prints one line for each. The guest
must answer the same, at the same virtual time, as one that nobody probes. The exit status is 0 if
it does, and all are right.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from kprobesim import BootedKernel, Kernel, Kprobe, KprobesimError  # noqa: E402
from kprobesim.boot.initramfs import (  # noqa: E402
    character_device,
    directory,
    make_cpio,
    regular_file,
)

OURS = ("kernel_clone", "do_sys_openat2", "vfs_read")
END = "ftrace tests end"
SECONDS = 400
SCRIPT = Path(__file__).with_suffix(".sh")


def run(image: str, initrd: bytes, cpus: int, *, probed: bool) -> tuple[BootedKernel, Counter[str]]:
    """Boot, and let the guest test itself."""
    hits: Counter[str] = Counter()

    def count(p: Kprobe, *_: object) -> None:
        hits[p.symbol_name or ""] += 1

    probes = [Kprobe(name, pre_handler=count, post_handler=count) for name in OURS]
    kernel = Kernel.boot(
        image, initrd=initrd, append="quiet", cpus=cpus, probes=probes if probed else ()
    )
    kernel.run(until=END, timeout=SECONDS)
    return kernel, hits


def main() -> int:
    """Run it once with probes of ours, and once without."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("busybox", type=Path)
    parser.add_argument("--alone", action="store_true", help="only without probes of ours")
    parser.add_argument("--cpus", type=int, default=1, metavar="N", help="of the guest")
    options = parser.parse_args()
    folders = dict.fromkeys(("dev", "proc", "sys", "tmp"), directory())
    initrd = make_cpio(
        {
            **folders,
            "bin/busybox": regular_file(options.busybox.read_bytes(), 0o755),
            "init": regular_file(SCRIPT.read_bytes(), 0o755),
            "dev/console": character_device(5, 1),
        }
    )
    alone, _ = run(options.image, initrd, options.cpus, probed=False)
    print(alone.console.text)
    failed = "FAILED" in alone.console.text or not re.search("test .*: ok", alone.console.text)
    if not options.alone:
        probed, hits = run(options.image, initrd, options.cpus, probed=True)
        same = probed.console.text == alone.console.text and probed.time == alone.time
        print("with probes of ours:", "the same" if same else probed.console.text, dict(hits))
        failed = failed or not same or not all(hits[name] for name in OURS)
    return int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KprobesimError, OSError) as error:
        sys.exit(f"{error}")
