"""Let a guest's own verifier judge eBPF programs, and compare with what ``would_load`` foretells.

    python scripts/bpf_objects_in_guest.py IMAGE [OBJECT...]

A guest with Debian's bpftool loads each OBJECT, and each program of tests/data/bpf/guards.c and
core.c by itself: those whose fields, functions, helpers and settings the kernel has or lacks, asked
for before or not. An object whose maps get their size only from the tool that it is part of remains
unfinished. The exit status is 0 if the verifier takes exactly those others that we say it takes.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from bpftrace_in_guest import make_initrd, package_files  # noqa: E402
from compare_with_libbpf import facts_of  # noqa: E402
from makers.bpf_objects import SOURCES, compiled  # noqa: E402

from kprobesim import Kernel, KprobesimError  # noqa: E402
from kprobesim.boot.initramfs import Entry, regular_file  # noqa: E402
from kprobesim.bpf.facts import KernelFacts  # noqa: E402
from kprobesim.bpf.load import would_load  # noqa: E402
from kprobesim.bpf.object import BpfObject  # noqa: E402
from kprobesim.fetch.cache import FetchError  # noqa: E402
from kprobesim.survey.known import open_known  # noqa: E402

WANTED = ("lib/", "lib64/", "usr/sbin/bpftool", "usr/lib/")
SECONDS = 900
INIT = """#!/bin/busybox sh
export PATH=/bin:/usr/sbin
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t bpf bpf /sys/fs/bpf
mount -t debugfs debugfs /sys/kernel/debug
echo 0 > /proc/sys/kernel/printk
ulimit -l unlimited
for object in /objects/*; do
    name=${object##*/}
    bpftool prog loadall $object /sys/fs/bpf/${name%.*} > /out 2>&1
    verdict=taken
    grep -q -E "^libbpf: .*(failed|not )|failed to load" /out && verdict=refused
    grep -q "failed to create" /out && verdict=unfinished
    echo "verdict $name $verdict"
    grep -m 3 -E "invalid|not found|unknown|failed|Error" /out
    rm -rf /sys/fs/bpf/${name%.*}
done
echo "all objects judged"
poweroff -f
"""


def single_programs(source: str) -> dict[str, bytes]:
    """For each program of a source an object of which libbpf loads only that one."""
    text = (SOURCES / source).read_text()
    found = {}
    start = re.compile(r'SEC\("([^"?]+/[^"]+)"\)(\s+int )(\w+)\(')
    for wanted in start.finditer(text):
        name = wanted[3]
        only = text
        for match in start.finditer(text):
            if match[3] != name:
                only = only.replace(match[0], match[0].replace('SEC("', 'SEC("?'))
        if "fexit" in wanted[0]:  # it is about slots, whatever the function has there
            continue
        found[f"{Path(source).stem}-{name}"] = compiled(only)
    return found


def foretold(obj: BpfObject, facts: KernelFacts) -> list[str]:
    """Why the object would not be loaded: reasons of programs that are not optional."""
    reasons = []
    for one in would_load(obj, facts).programs:
        if one.program.optional:
            continue
        reasons += [f"{each.path}: {each.text}" for each in one.blockers if not each.depends]
        attachment = one.program.attachment
        name = attachment.btf_name
        if name is not None and facts.btf is not None and not facts.btf.named(name):
            reasons.append(f"{name} is not in the kernel's types")
        elif name == attachment.target and name is not None and not facts.addresses(name):
            reasons.append(f"{name} is in the kernel's types, and no symbol")
    return reasons


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("image")
    parser.add_argument("objects", nargs="*", type=Path)
    options = parser.parse_args()
    known = open_known(options.image)
    objects = single_programs("guards.c") | single_programs("core.c")
    objects |= {path.name.split(".")[0]: path.read_bytes() for path in options.objects}
    config = "".join(f"{key}={value}\n" for key, value in (known.config or {}).items())
    files: dict[str, bytes | Entry] = package_files(known.arch, "bpftool", WANTED)
    files |= {f"objects/{name}.o": regular_file(data) for name, data in objects.items()}
    files[f"boot/config-{known.release}"] = regular_file(config.encode())
    initrd = make_initrd(known.arch, files, INIT)
    kernel = Kernel.boot(options.image, initrd=initrd, append="quiet", memory="1G")
    kernel.run(until="all objects judged", timeout=SECONDS)
    said = kernel.console.text
    verdicts = dict(re.findall(r"^verdict (\S+)\.o (\w+)", said, re.MULTILINE))
    facts, wrong = replace(facts_of(known), config=known.config or {}), 0
    for name, data in objects.items():
        reasons = foretold(BpfObject.parse(data, name), facts)
        agrees = verdicts.get(name) in ("refused" if reasons else "taken", "unfinished")
        wrong += not agrees
        mark = "  " if agrees else "!!"
        print(f"{mark} {name}: guest {verdicts.get(name)}, we {reasons[:1] or 'load it'}")
        if not agrees:
            after = said.split(f"verdict {name}.o", 1)[-1].splitlines()[1:4]
            print("\n".join(f"       {line}" for line in after if not line.startswith("verdict")))
    print(f"{known.name}: {len(objects)} objects, {wrong} judged otherwise")
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KprobesimError, FetchError, OSError) as error:
        sys.exit(f"{error}")
