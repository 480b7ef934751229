"""Whether definitions get the answers that the guest's own kprobe_events gives, in one boot.

    python scripts/compare_definitions.py [--random N] [--seed S] [--definitions FILE] IMAGE...

IMAGE is a kernel, or a snapshot of one whose shell waits. Errno, error_log with its caret, and the
listing must be equal. In FILE there is one definition a line; what was defined is removed before
each that does not start with ``+``. The exit status is 0 if all kernels agree about all.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from guests import end_with, guests_parser  # noqa: E402
from random_definitions import random_definitions  # noqa: E402

from kprobesim import BootedKernel, ProbeEventError  # noqa: E402
from kprobesim.asking.booted import booted_kernel  # noqa: E402
from kprobesim.asking.shell import Shell  # noqa: E402

SECONDS = 600
_AT_ONCE = 200  # definitions for one loop of the guest's shell
_MOST = 3800  # bytes of a line for it
_ASK = (
    "cd /sys/kernel/tracing; while IFS= read -r d; do"
    ' case "$d" in +*) d="${d#+}";; *) : > kprobe_events;; esac; : > error_log; echo @@;'
    ' echo "$d" >> kprobe_events; echo @LOG; while IFS= read -r l; do echo "$l"; done < error_log;'
    ' echo @LIST; while IFS= read -r l; do echo "$l"; done < kprobe_events;'
    " done < /tmp/definitions; : > kprobe_events; echo @@"
)
_ERRNO = {os.strerror(number): number for number in range(1, 134)}
_STAMP = re.compile(r"(?m)^\[ *\d+\.\d+\] ")
_CARET = re.compile(r"(?m)^ +\^$|^ +$")
#: Linux 6.4 to 6.18 add an address to the column of what is wrong behind a member.
_BEHIND_MEMBERS = re.compile(r"->\w+(:\S*)?$")


class Answer(NamedTuple):
    """What a kernel says to a definition: the errno, error_log and the listing."""

    errno: int
    log: str
    listing: str


class Definitions:
    """One boot of a ``kernel``: its own kprobe_events, and ours beside."""

    def __init__(self, kernel: BootedKernel) -> None:
        self.kernel = kernel
        self._shell = Shell(kernel)

    def guests(self, definitions: Sequence[str]) -> list[Answer]:
        """What the guest answers."""
        self._shell.run(": > /tmp/definitions", SECONDS)
        for line in _lines(definitions):
            self._shell.run(f"printf '%s\\n' {line} >> /tmp/definitions", SECONDS)
        _, said = self._shell.run(_ASK, SECONDS)
        return [_parsed(part) for part in said.replace("\r\n", "\n").split("@@\n")[1:-1]]

    def ours(self, definition: str) -> Answer:
        """What we answer."""
        files = self.kernel.tracefs
        number = 0
        if not definition.startswith("+"):
            files["kprobe_events"].write("")
        files["error_log"].write("")
        try:
            files["kprobe_events"].append(f"{definition.removeprefix('+')}\n")
        except ProbeEventError as error:
            number = error.errno or 0
        log = _STAMP.sub("", files["error_log"].read())
        return Answer(number, log, files["kprobe_events"].read())

    def differences(self, definitions: Sequence[str]) -> list[tuple[str, Answer, Answer]]:
        """The definitions with other answers: the guest's, and ours."""
        found = []
        for start in range(0, len(definitions), _AT_ONCE):
            part = definitions[start : start + _AT_ONCE]
            self.kernel.tracefs["kprobe_events"].write("")  # as each loop of the guest ends
            for definition, theirs in zip(part, self.guests(part), strict=True):
                ours = self.ours(definition)
                if ours != theirs and not _is_lost_column(definition, ours, theirs):
                    found.append((definition, theirs, ours))
        self.kernel.tracefs["kprobe_events"].write("")
        return found


def _is_lost_column(definition: str, ours: Answer, theirs: Answer) -> bool:
    """Whether only the caret differs, of a kernel that adds an address to it."""
    members = any(_BEHIND_MEMBERS.search(word) for word in definition.split())
    plain = [_CARET.sub("", answer.log).rstrip() for answer in (ours, theirs)]
    return members and plain[0] == plain[1] and ours._replace(log="") == theirs._replace(log="")


def _lines(definitions: Sequence[str]) -> Iterator[str]:
    line = ""
    for definition in definitions:
        quoted = "'" + definition.replace("'", "'\\''") + "'"
        if len((line + quoted).encode()) > _MOST:
            yield line
            line = ""
        line += f"{quoted} "
    if line:
        yield line


def _parsed(said: str) -> Answer:
    head, _, rest = said.partition("@LOG\n")
    log, _, listing = rest.partition("@LIST\n")
    failed = re.search(r"write error: (.*)", head)
    return Answer(_ERRNO[failed[1].strip()] if failed else 0, _STAMP.sub("", log), listing)


def main() -> int:
    """Compare all kernels."""
    parser = guests_parser(__doc__)
    parser.add_argument("--random", type=int, default=500, help="so many definitions")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--definitions", type=Path, help="a file with others")
    options = parser.parse_args()
    failed = False
    for image in options.images:
        kernel = booted_kernel(image)
        definitions = random_definitions(options.random, options.seed, kernel.arch)
        if options.definitions is not None:
            definitions = options.definitions.read_text().splitlines()
        different = Definitions(kernel).differences(definitions)
        for definition, theirs, ours in different:
            print(f"{definition!r}\n  guest: {theirs}\n  ours:  {ours}")
        print(f"{kernel.version}: {len(definitions)} definitions, {len(different)} differ")
        failed = failed or bool(different)
    return int(failed)


if __name__ == "__main__":
    end_with(main)
