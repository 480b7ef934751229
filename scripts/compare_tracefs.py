"""Whether tracefs of ours does what the guest's own does, in one boot.

    python scripts/compare_tracefs.py [--case NAME]... IMAGE...

IMAGE is a kernel, or a snapshot of one whose shell waits. The exit status is 0 if both agree about
every step of every case.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from guests import Guest, end_with, guests_parser  # noqa: E402
from tracefs_cases import CASES, WITH_MODULES, Steps, kernel_symbols  # noqa: E402
from tracefs_faces import Guests, Ours, compare  # noqa: E402

from kprobesim import BootedKernel  # noqa: E402
from kprobesim.asking.booted import booted_kernel  # noqa: E402
from kprobesim.asking.modules import module_files  # noqa: E402
from kprobesim.image import load_image  # noqa: E402
from kprobesim.image.modules.finder import ModuleFinder  # noqa: E402
from kprobesim.snapshot.container import is_snapshot  # noqa: E402

_REGISTER = {"x86_64": "ax", "arm64": "x0"}
_CLEAN = (("events/enable", "0"), ("kprobe_events", ""), ("trace", ""), ("error_log", ""))


class Comparison(Guest):
    """One boot of a kernel, with both faces."""

    def __init__(self, kernel: BootedKernel) -> None:
        super().__init__(kernel)
        self.run("mount -t debugfs debugfs /sys/kernel/debug 2>/dev/null")
        self.faces = Ours(kernel), Guests(self.shell)

    @property
    def has_modules(self) -> bool:
        """Whether the guest can load the modules that cases are about."""
        return self.run("[ -e /lib/modules/$(uname -r)/tun.ko ]")[0] == 0

    def differences(self, case: Steps) -> list[tuple[object, object]]:
        """What the two do not agree about, ours first."""
        symbols = self.kernel.symbols
        named = Counter(symbol.name for symbol in symbols.functions())
        values = {
            "TWICE": next(name for name, count in named.items() if count > 1 and "." not in name),
            "REG": _REGISTER[self.kernel.arch],
            "SYM": "linux_proc_banner",
            "BANNER": "linux_proc_banner",
            "0xADDR": f"{symbols['vfs_read'].address:#x}",
        }
        steps = kernel_symbols(case, lambda name: symbols.get(name) is not None, values)
        try:
            return compare(steps, *self.faces, self.shell)
        finally:
            for face in self.faces:
                for path, text in _CLEAN:
                    face.write(path, text)


def _booted(image: str) -> BootedKernel:
    """The kernel in ``image``, with the file of a module where there is one."""
    if is_snapshot(image):
        return booted_kernel(image)
    finder = ModuleFinder(load_image(image))
    return booted_kernel(image, module_files(finder, filter(finder.find, ["tun"])))


def main() -> int:
    """Compare all kernels."""
    parser = guests_parser(__doc__)
    parser.add_argument("--case", action="append", help="only this one")
    options = parser.parse_args()
    failed = 0
    for image in options.images:
        comparison = Comparison(_booted(image))
        for case in (*CASES, *(WITH_MODULES if comparison.has_modules else ())):
            name = case.__name__
            if options.case and name not in options.case:
                continue
            different = comparison.differences(case)
            failed += bool(different)
            print(f"{comparison.kernel.version} {name}: {'DIFFERENT' if different else 'the same'}")
            for ours, guests in different:
                print(f"  ours:   {ours!r}\n  guests: {guests!r}")
    return int(failed > 0)


if __name__ == "__main__":
    end_with(main)
