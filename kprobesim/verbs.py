"""``ProbeVerbs``: what is built on probes: return probes."""

from __future__ import annotations

from collections.abc import Sequence

from kprobesim.errors import UsageError
from kprobesim.kprobes.kretprobe import Kretprobe
from kprobesim.kprobes.manager import KprobesManager

__all__ = ["ProbeVerbs"]


class ProbeVerbs:
    """The half of :class:`~kprobesim.handle.KernelHandle` that needs no plain probe."""

    kprobes: KprobesManager

    # -- return probes -----------------------------------------------------------------------------

    def register_kretprobe(self, rp: Kretprobe) -> None:
        """Follow the calls of a function from now on; raises :class:`KprobeError`."""
        self.kprobes.return_probes.register(_as_kretprobe(rp))

    def register_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """All or none."""
        self.kprobes.return_probes.register_all([_as_kretprobe(rp) for rp in probes])

    def unregister_kretprobe(self, rp: Kretprobe) -> None:
        """No handler of ``rp`` runs from now on, also for calls that have not returned yet."""
        self.kprobes.return_probes.unregister_all([_as_kretprobe(rp)])

    def unregister_kretprobes(self, probes: Sequence[Kretprobe]) -> None:
        """Take all of ``probes`` out."""
        self.kprobes.return_probes.unregister_all([_as_kretprobe(rp) for rp in probes])

    def disable_kretprobe(self, rp: Kretprobe) -> None:
        """Follow no further calls; those that are being followed still run the handler."""
        self.kprobes.disable_kprobe(_as_kretprobe(rp).kp)

    def enable_kretprobe(self, rp: Kretprobe) -> None:
        """Undo :meth:`disable_kretprobe`."""
        self.kprobes.enable_kprobe(_as_kretprobe(rp).kp)


def _as_kretprobe(rp: object) -> Kretprobe:
    if not isinstance(rp, Kretprobe):
        raise UsageError(f"{rp!r} is of type {type(rp).__name__}: give a Kretprobe")
    return rp
