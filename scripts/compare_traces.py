"""Whether events of ours leave the lines that the guest's own leave, in one boot.

    python scripts/compare_traces.py [--section NAME]... [--every N] IMAGE...

IMAGE is a kernel, or a snapshot of one whose shell waits. The definitions of
``trace_definitions.txt`` are written both to the guest's own kprobe_events and to ours, and with
``--every N`` one on each Nth instruction of a function, too. The guest does some work, and its
``trace`` is compared with ours line for line, but for time stamps; so are the ``format`` files.
The exit status is 0 if all are equal. Lines are compared between the first and the last common one,
since the guest cannot switch its events at the instant at which ours are switched; and ours has
lines for what interrupts the guest's own handlers, which the guest counts as misses.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from difflib import SequenceMatcher, unified_diff
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from guests import Guest, end_with, guests_parser  # noqa: E402

from kprobesim import BootedKernel  # noqa: E402
from kprobesim.asking.booted import booted_kernel  # noqa: E402
from kprobesim.disasm import disassemble  # noqa: E402

TRACING = "/sys/kernel/tracing"
WORK = "sleep 0.02; cat /proc/version; echo hi > /tmp/x; ls / > /dev/null"
DEFINITIONS = ROOT / "scripts" / "trace_definitions.txt"
FUNCTION = "do_sys_openat2"
WORDS = {
    "x86_64": {"AX": "ax", "IP": "ip", "SYS": "__x64"},
    "arm64": {"AX": "x0", "IP": "pc", "SYS": "__arm64"},
}
REGISTERS = {
    "x86_64": "ax bx cx dx si di bp sp r8 r9 r12 r15 flags ip orig_ax",
    "arm64": "x0 x1 x2 x8 x19 x20 x29 lr sp pc pstate",
}
SLEEPERS = [
    "r1:sleepers/one hrtimer_nanosleep ret=$retval:s32",
    "p:sleepers/all hrtimer_nanosleep",
    "r2:sleepers/two hrtimer_nanosleep",
]
#: A new entry: what a string holds may go over several lines.
ENTRY = re.compile(r"^ *(.{1,16})-(\d+) +\[\d+\] (\S+) +[\d.]+: ", re.MULTILINE)
#: Bytes that are no text, as the console and as entries have them.
NO_TEXT = re.compile(r"(?:\\x[0-9a-f]{2}|\ufffd)+")
INIT = 1  # the shell that waits runs also while only ours are on


def sections() -> dict[str, list[str]]:
    """The definitions of the file, by section."""
    found: dict[str, list[str]] = {}
    for line in DEFINITIONS.read_text().splitlines():
        if line.startswith("["):
            found[line.strip("[]")] = []
        elif line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def on_instructions(k: BootedKernel, every: int) -> Iterator[str]:
    """A definition for each so manieth instruction of a function, with all registers."""
    start = k.symbols[FUNCTION].address
    symbol = k.symbols.at(start)
    assert symbol is not None
    arguments = " ".join(f"{name}=%{name}" for name in REGISTERS[k.arch].split())
    code = disassemble(k.arch, k.read(start, symbol.size), start)
    for instruction in list(code)[::every]:
        offset = instruction.address - start
        yield f"p:instructions/at_{offset:x} {FUNCTION}+{offset} {arguments}"


def lines(text: str) -> list[str]:
    """The entries of a trace without their times, but those of the shell that waits."""
    found = []
    starts = [*ENTRY.finditer(text)]
    for match, after in zip(starts, [*starts[1:], None], strict=True):
        body = text[match.end() : after.start() if after else len(text)].rstrip()
        if int(match[2]) != INIT:
            found.append(f"{match[1]}-{match[2]} {match[3]} {NO_TEXT.sub('?', body)}")
    return found


def differences(theirs: list[str], ours: list[str]) -> list[str]:
    """What is not equal between the first and the last line that are."""
    found = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, theirs, ours, autojunk=False).get_opcodes():
        at_an_end = tag == "insert" and i1 in (0, len(theirs))
        if tag != "equal" and not at_an_end:
            found += [f"- {line}" for line in theirs[i1:i2]] + [f"+ {line}" for line in ours[j1:j2]]
    return found


def _fields(text: str) -> list[str]:
    """The lines of a ``format`` file, but for the number."""
    return [line for line in text.splitlines() if line and not line.startswith("ID:")]


class Comparison(Guest):
    """One boot of a kernel."""

    def filled(self, template: str) -> str:
        """A definition for this architecture."""
        for word, name in WORDS[self.kernel.arch].items():
            template = template.replace(f"{{{word}}}", name)
        return template

    def define(self, definitions: list[str]) -> int:
        """Write all to both; how many both take."""
        for line in definitions:
            status, _ = self.run(f"echo '{line}' >> {TRACING}/kprobe_events")
            if not status:
                self.kernel.kprobe_events.command(line)
        return len(self.kernel.tracing.events)

    def profiles(self) -> list[tuple[str, str]]:
        """Lines of ``kprobe_profile`` that differ where more calls sleep than may be followed."""
        tracing = self.kernel.tracing
        self.define(SLEEPERS)
        for on in (True, False):
            for event in tracing.events.values():
                event.enabled = on
            self.run(f"echo {on:d} > {TRACING}/events/sleepers/enable")
            self.run("sleep 0.1 & sleep 0.1 & sleep 0.1 & sleep 0.05 & wait" if on else ":")
        _, theirs = self.run(f"cat {TRACING}/kprobe_profile")
        both = zip(theirs.splitlines(), tracing.profile().splitlines(), strict=True)
        different = [(one, other) for one, other in both if one != other]
        self.clean()
        return different

    def clean(self) -> None:
        """Forget all events and entries."""
        self.run(f"echo > {TRACING}/kprobe_events; echo > {TRACING}/trace")
        self.kernel.kprobe_events.truncate()
        self.kernel.tracing.buffer.clear()

    def compare(self, definitions: list[str]) -> tuple[int, list[str]]:
        """How many lines there were, and what is not equal."""
        tracing = self.kernel.tracing
        self.define(definitions)
        events = [*tracing.events.values()]
        groups = {event.group for event in events}
        switch = "; ".join(f"echo $on > {TRACING}/events/{group}/enable" for group in groups)
        self.run(WORK)
        for event in events:
            event.enabled = True
        self.run(f"on=1; {switch}")
        self.run("sleep 1")  # until breakpoints have become jumps
        self.run(WORK)
        self.run(f"on=0; {switch}")
        for event in events:
            event.enabled = False
        _, text = self.run(f"cat {TRACING}/trace")
        theirs = lines(text)
        found = differences(theirs, lines(tracing.text()))
        _, profile = self.run(f"cat {TRACING}/kprobe_profile")
        misses = sum(int(line.split()[-1]) for line in profile.splitlines() if line.strip())
        if len(found) <= misses and all(line.startswith("+") for line in found):
            found = []
        for event in events:
            _, text = self.run(f"cat {TRACING}/events/{event.full_name}/format")
            found += unified_diff(_fields(text), _fields(event.format), n=0, lineterm="")
        self.clean()
        return len(theirs), found


def main() -> int:
    """Compare all kernels."""
    parser = guests_parser(__doc__)
    parser.add_argument("--section", action="append", help="only this one")
    parser.add_argument("--every", type=int, default=0, help="also on each so manieth instruction")
    options = parser.parse_args()
    failed = 0
    for image in options.images:
        comparison = Comparison(booted_kernel(image))
        kernel = comparison.kernel
        wanted = sections()
        if options.every:
            wanted["instructions"] = [*on_instructions(kernel, options.every)]
        for name, templates in wanted.items():
            if options.section and name not in options.section:
                continue
            count, found = comparison.compare([*map(comparison.filled, templates)])
            print(f"{kernel.version} {name}: {count} lines, {len(found)} not equal", flush=True)
            for line in found[:12]:
                print(f"    {line[:300]}")
            failed += bool(found)
        different = comparison.profiles()
        print(f"{kernel.version} profile: {len(different)} lines not equal", flush=True)
        failed += bool(different)
    return int(failed > 0)


if __name__ == "__main__":
    end_with(main)
