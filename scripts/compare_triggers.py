"""Whether filters and triggers of ours are the guest's own, in one boot.

    python scripts/compare_triggers.py [--seed N] [--count N] IMAGE...

Both filter and count the same hits; what was recorded and counted must be equal, to the order of
entries. Then random filters, hist triggers and others, right ones and wrong ones, are written into
the files of both: errno, ``error_log``, and what the files say then must be equal.

IMAGE is a kernel, or a snapshot of one whose shell waits. The exit status is 0 if all is the same.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import action_cases  # noqa: E402
from guests import Guest, end_with, guests_parser  # noqa: E402
from tracefs_faces import Guests, Ours  # noqa: E402

from kprobesim import BootedKernel  # noqa: E402
from kprobesim.asking.booted import booted_kernel  # noqa: E402

EVENTS = (
    "p:t/e vfs_read n=$arg3:u32 c=$comm b=+0($arg2):ustring s=$arg1:s8 a=+0($arg2):u8[4] "
    "q=$arg3:s64",
    "p:t/w vfs_write n=$arg3:u32 c=$comm s=$arg3:s8 x=+0($arg2):x16",
    "r:t/r vfs_read v=$retval:s64",
    r'p:t/m vfs_write+0 l=\"one" y=%ip:symstr n=$arg3:u32',
    "p:t/o do_sys_openat2 f=+0($arg2):ustring d=$arg1:s32",
)
WORK = (
    "for i in 1 2 3 4 5 6 7; do seq 1 $((i*30)) > /tmp/s$i; wc /tmp/s$i > /tmp/w$i; done; "
    "ls -l /bin | head -60 > /tmp/l; md5sum /bin/busybox; find /sys/kernel -maxdepth 2 | tail"
)
ONLY = 'COMM != "init" && COMM != "cat"'  # the shell that asks, and what it reads with
COUNTED = {
    "w": (
        "keys=n keys=n:vals=s,x:sort=n keys=c,n.log2:sort=c,n.descending keys=s keys=s.log2 "
        "keys=n.buckets=10:vals=n.hex:sort=hitcount.descending keys=s.hex,x:sort=s "
        "keys=n*3+x/7:vals=n keys=common_pid.execname:sort=common_pid keys=__probe_ip.sym,c "
        "keys=__probe_ip.sym-offset:vals=n,s keys=x:sort=x.descending:size=128 keys=-(n) "
        "keys=s.buckets=3 keys=common_cpu,c keys=s:sort=s.descending"
    ),
    "r": "keys=v keys=v.log2:vals=v keys=__probe_ret_ip.sym-offset keys=__probe_func.sym,v:sort=v",
    "m": "keys=l keys=y keys=common_preempt_count.hex,l keys=n.syscall",
    "o": "keys=f keys=c,d:sort=c.descending keys=d",
}
RECORDED = {
    "w": ("n > 5 && n < 100", "s < 0", "!(n == 6) || x & 1", 'c ~ "[!i]*"', "n != 1 && c ~ '*s?*'"),
    "r": ("v > 10", "v == 0", "v != 0 && v & 1", "__probe_func != 0 && v >= 0"),
    "m": (  # without NEED_RESCHED: a tick may come between the two probes
        'y ~ "vfs_write*" && !(common_flags & 0xd9)',
        "common_flags & 0x41 || common_preempt_count == 1",
        'l == "one" && y != "x" && common_preempt_count == 0',
    ),
    "o": ('f ~ "*s[1-3]"', "d < -1 && f != '/etc/passwd'", 'f ~ "!*s*"', 'f ~ "/tmp/*" || d > 0'),
}
_LATENCY = re.compile(r"(?<=lat: )lat=[0-9]+")  # the kernel's own handlers take time of it
_FIELDS = (
    "n c b s a q zz CPU COMM common_pid common_cpu common_flags __probe_ip common_timestamp "
    "common_preempt_count hitcount".split()
)
_OPERATORS = "== != < <= > >= & ~".split()
_OPERANDS = ["1", "-1", "0", "255", "0xffff", "-0x80", "08", '"x*"', "'y'", '"[!a]?*"', "1x", "foo"]
_MODIFIERS = (
    ".hex .log2 .sym .sym-offset .buckets=7 .buckets=100 .execname .percent .graph .foo .usecs"
).split()
_OTHERS = (
    "traceoff;traceon:3;!traceon;traceoff if n > 3;traceon:x;stacktrace:5;!stacktrace;snapshot:1x;"
    "enable_event:t:w:2;!enable_event:t:w;disable_event:t:zz;enable_event:t;traceoff if;foo;"
    "enable_hist:t:w if n == 1;!enable_hist:t:w;traceon:99999999999999999999"
).split(";")


def _filters(rng: random.Random) -> Iterator[str]:
    """Filters, of which half have a slip."""

    def term() -> str:
        space = rng.choice(["", " "])
        parts = rng.choice(_FIELDS), rng.choice(_OPERATORS), rng.choice(_OPERANDS)
        return rng.choice(["", "", "!", "! "]) + space.join(parts)

    def expression(depth: int) -> str:
        if not depth or rng.random() < 0.3:
            return term()
        joined = rng.choice([" && ", " || ", "&&", "||"])
        text = f"{expression(depth - 1)}{joined}{expression(depth - 1)}"
        return f"({text})" if rng.random() < 0.5 else text

    while True:
        text = list(expression(rng.randrange(4)))
        for _ in range(rng.choice([0, 0, 1, 2])):
            text[rng.randrange(len(text))] = rng.choice(["", *"()!&|=\"'1a ~<"])
        yield "".join(text).strip() or "!"


def _hists(rng: random.Random) -> Iterator[str]:
    """Hist triggers, right ones and wrong ones."""

    def field() -> str:
        name = rng.choice(_FIELDS)
        return name if rng.random() < 0.5 else name + rng.choice(_MODIFIERS)

    def value() -> str:
        if rng.random() < 0.7:
            return field()
        return f"{field()}{rng.choice('+-*/')}{rng.choice([field(), '3', '1000', '0'])}"

    def several() -> str:
        return ",".join(value() for _ in range(rng.choice([1, 1, 2, 3])))

    while True:
        text = f"{rng.choice(['', '', '!'])}hist:keys={several()}"
        if rng.random() < 0.5:
            text += f":vals={several()}"
        if rng.random() < 0.5:
            order = rng.choice(["", ".descending", ".ascending", ".x"])
            text += f":sort={rng.choice(_FIELDS)}{order}"
        if rng.random() < 0.3:
            text += rng.choice([":size=128", ":size=1", ":pause", ":clear", ":cont", ":nohitcount"])
        if rng.random() < 0.3:
            text += " if " + rng.choice(["n > 3", 'c == "cat"', "zz", "n >", 'q != 7 && c ~ "*i*"'])
        yield text


class Comparison(Guest):
    """One boot of a kernel, with both faces."""

    def __init__(self, kernel: BootedKernel) -> None:
        super().__init__(kernel)
        self.ours, self.guests = Ours(kernel), Guests(self.shell)
        self.different = 0
        for definition in EVENTS:
            self.both("append", "kprobe_events", definition)

    def both(self, verb: str, path: str, *texts: str) -> bool:
        """Do it to both; whether they agree. What differs is printed."""
        ours = getattr(self.ours, verb)(path, *texts)
        guests = getattr(self.guests, verb)(path, *texts)
        ours, guests = _LATENCY.sub("lat=N", ours), _LATENCY.sub("lat=N", guests)
        if ours != guests:
            self.different += 1
            print(f"  {verb} {path} {texts}:\n    ours:   {ours!r}\n    guests: {guests!r}")
        return bool(ours == guests)

    def write(self, path: str, text: str) -> None:
        """Append ``text`` to a file of an event, and look at all that tells of it."""
        self.both("write", "error_log", "\n")
        self.both("append", f"events/t/e/{path}", text)
        same = [self.both("read", f"events/t/e/{path}"), self.both("read", "error_log")]
        same.append(self.both("read", "events/t/e/enable"))
        if not all(same):
            print(f"  that was {text!r}")
            self.both("write", f"events/t/e/{path}", "0" if path == "filter" else "")

    def texts(self, rng: random.Random, count: int) -> None:
        """Write random filters and triggers."""
        filters, hists = _filters(rng), _hists(rng)
        for number in range(count):
            self.write("filter", next(filters))
            if "hist" in self.ours.read("events/t/e/trigger"):
                self.write("trigger", next(hists))
            self.write("trigger", rng.choice(_OTHERS))
            if number % 20 == 19:
                self.both("write", "events/t/e/trigger", "")
        self.both("append", "events/t/e/trigger", "!traceon", "!snapshot", "!stacktrace")
        self.both("append", "events/t/e/trigger", "!enable_event:t:w", "!enable_hist:t:w")
        self.both("write", "events/t/e/trigger", "")

    def histograms(self) -> None:
        """Let both count the same hits."""
        if not self.ours.exists("events/t/e/hist"):
            return
        for event, triggers in COUNTED.items():
            for trigger in triggers.split():
                self.both("append", f"events/t/{event}/trigger", f"hist:{trigger} if {ONLY}")
        self.run(WORK)
        for event in COUNTED:
            self.both("read", f"events/t/{event}/hist")
        for event in COUNTED:
            self.both("write", f"events/t/{event}/trigger", "")

    def actions(self) -> None:
        """Define synthetic events, and let hist triggers of both record them and track values."""
        if not self.ours.exists("synthetic_events"):
            return
        for definition in action_cases.EVENTS:
            self.both("append", "kprobe_events", definition)
        for command in action_cases.SYNTHETIC:
            self.both("write", "error_log", "\n")
            self.both("append", "synthetic_events", command)
            self.both("read", "synthetic_events")
            self.both("read", "error_log")
        for event, trigger in action_cases.TRIGGERS:
            self.both("write", "error_log", "\n")
            self.both("append", f"events/{event}/trigger", trigger.replace("{only}", ONLY))
            self.both("read", "error_log")
            self.both("read", f"events/{event}/trigger")
        for event in ("lat", "lat2"):
            self.both("write", f"events/synthetic/{event}/filter", "lat < 100000")
            self.both("write", f"events/synthetic/{event}/enable", "1")
        self.both("append", "synthetic_events", "!lat")
        self.both("write", "trace", "")
        self.run(WORK)
        for event in ("lat", "lat2"):
            self.both("write", f"events/synthetic/{event}/enable", "0")
        self.both("read", "trace")
        for event in dict(action_cases.TRIGGERS):
            self.both("read", f"events/{event}/hist")

    def records(self) -> None:
        """Let both record what a filter lets pass."""
        for number in range(max(map(len, RECORDED.values()))):
            for event, filters in RECORDED.items():
                text = f"({filters[number % len(filters)]}) && {ONLY}"
                self.both("write", f"events/t/{event}/filter", text)
                self.both("write", f"events/t/{event}/enable", "1")
            self.both("write", "trace", "")
            self.run(WORK)
            for event in RECORDED:
                self.both("write", f"events/t/{event}/enable", "0")
            self.both("read", "trace")


def main() -> int:
    """Compare all kernels."""
    parser = guests_parser(__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100, help="of filters, and of triggers")
    options = parser.parse_args()
    failed = 0
    for image in options.images:
        kernel = booted_kernel(image)
        comparison = Comparison(kernel)
        comparison.actions()
        comparison.histograms()
        comparison.records()
        comparison.texts(random.Random(options.seed), options.count)
        failed += comparison.different
        print(f"{kernel.version} {kernel.arch}: {comparison.different} differences")
    return int(failed > 0)


if __name__ == "__main__":
    end_with(main)
