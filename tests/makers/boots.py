"""Boots of real kernels that many tests start from or compare with: done once for all of them.

The tests run in several processes; who comes first boots, and the others wait for its file.
"""

from __future__ import annotations

import fcntl
import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from shell_example import PROMPT

from kprobesim import BootedKernel, Kernel, Stop
from kprobesim.asking.shell import READY, Shell, shell_initrd
from kprobesim.image import load_image

SHELL_APPEND = "quiet nokaslr"  # modules, too, are where they always are
ENDS = (Stop.POWER_OFF, Stop.HALT)  # a PC without ACPI halts


@dataclass(frozen=True)
class Outcome:
    """How a boot has ended: all that a disturbed one is compared with."""

    kind: Stop
    console: str
    time: float
    exceptions: object
    digest: str


def run_to_the_end(k: BootedKernel) -> Outcome:
    """Let ``k`` run until its guest switches itself off."""
    reason = k.run()
    assert reason.kind in ENDS
    digest = hashlib.sha256(k.board.ram).hexdigest()
    return Outcome(reason.kind, k.console.text, k.time, k.board.exceptions(), digest)


class Boots:
    """The boots; ``folder`` is shared by all processes of one run of the tests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def at_run_init(self, image: Path, memory: str = "256M") -> BootedKernel:
        """A kernel of its own, in the middle of the printk of "Run /init".

        The console is locked then, and interrupts are off.
        """

        def boot(path: Path) -> None:
            k = Kernel.boot(image, memory=memory)
            assert k.run("Run /init").kind is Stop.TEXT
            k.snapshot(path)

        return Kernel.resume(self._once(f"{image.name}-{memory}.kps", boot))

    def at_prompt(self, image: Path, initrd: bytes) -> Path:
        """The snapshot of a kernel whose shell, that of ``samples/shell_example.py``, waits."""

        def boot(path: Path) -> None:
            k = Kernel.boot(image, initrd=initrd, append=SHELL_APPEND)
            assert k.run(PROMPT).kind is Stop.TEXT
            k.snapshot(path)

        return self._once(f"{image.name}-prompt.kps", boot)

    def shell(self, image: Path, cpus: int) -> Shell:
        """A shell of its own, on so many CPUs; its guest was kept as a snapshot on the way."""

        def boot(path: Path) -> None:
            loaded = load_image(image)
            initrd = shell_initrd(loaded.arch)
            k = Kernel.boot(loaded, initrd=initrd, append="quiet", cpus=cpus)
            assert k.run(READY).kind is Stop.TEXT
            k.run(seconds=0.01)
            k.snapshot(path)

        return Shell(Kernel.resume(self._once(f"{image.name}-{cpus}-cpus.kps", boot)))

    def outcome(self, image: Path, memory: str = "256M") -> Outcome:
        """The end of a boot that nobody looks into."""

        def boot(path: Path) -> None:
            path.write_bytes(pickle.dumps(run_to_the_end(Kernel.boot(image, memory=memory))))

        outcome = pickle.loads(self._once(f"{image.name}-{memory}.outcome", boot).read_bytes())
        assert isinstance(outcome, Outcome)
        return outcome

    def _once(self, name: str, make: Callable[[Path], None]) -> Path:
        path = self._folder / name
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                make(path)
        return path
