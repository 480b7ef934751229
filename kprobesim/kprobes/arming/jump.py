"""The optimizer: where it can, a breakpoint becomes a jump to a detour buffer (x86-64).

optimize_kprobe(), unoptimize_kprobe() and kprobe_optimizer() of kernel/kprobes.c (6.1). A probe is
flagged OPTIMIZED at once. Its jump is written by work that is due some jiffies later; in a guest
that is called time stands still, and that is when somebody waits for it. Jumps are taken out
without delay.
"""

from __future__ import annotations

from kprobesim.arch.refused import Refused
from kprobesim.arch.x86_64.detour import DETOUR_SIZE, LONGEST_COPY, Detour, detour
from kprobesim.errors import UsageError
from kprobesim.kprobes.aggregate import AggrKprobe
from kprobesim.kprobes.arming.breakpoint import BreakpointArming
from kprobesim.kprobes.arming.jump_body import JumpBody
from kprobesim.kprobes.arming.jump_writer import JumpWriter
from kprobesim.kprobes.arming.pages import ProbePages
from kprobesim.kprobes.arming.slots import SlotCache
from kprobesim.kprobes.copies import OutOfLineCopies
from kprobesim.kprobes.ctlblk import KprobeCtlblk
from kprobesim.kprobes.hit.path import HitPath
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.percpu import PerCpu
from kprobesim.kprobes.rules.optimizable import Optimizable
from kprobesim.kprobes.table import KprobeTable, has_jprobe
from kprobesim.machine.system import System

__all__ = ["KprobeOptimizer"]


class KprobeOptimizer:
    """Arms the probes in ``table`` with the breakpoints of ``arming``, and turns those into jumps.

    ``body`` is what the detours call. ``copies`` gets where each copied instruction is, and where
    it comes from. ``allowed`` is the kernel's ``kprobes_allow_optimization``; :meth:`arm` obeys a
    change of it.
    """

    def __init__(
        self,
        machine: System,
        table: KprobeTable,
        arming: BreakpointArming,
        optimizable: Optimizable,
        body: JumpBody,
        copies: OutOfLineCopies,
        ctlblk: PerCpu[KprobeCtlblk],
        pages: ProbePages,
        paths: PerCpu[HitPath],
        *,
        strict: bool = False,
    ) -> None:
        self._machine = machine
        self._table = table
        self._arming = arming
        self._optimizable = optimizable
        self._body = body
        self._copies = copies
        self._ctlblk = ctlblk
        self._strict = strict
        self.allowed = True
        self.buffers = SlotCache(DETOUR_SIZE, pages.new_detours, pages.free)
        self._detours: dict[int, Detour] = {}
        self._queue: set[int] = set()
        self._jumps: set[int] = set()
        self._writer = JumpWriter(machine, arming, paths, self._jumps.add)
        self.prepare = arming.prepare
        self.read_original = arming.read_original

    # -- as any way to arm -------------------------------------------------------------------------

    def arm(self, head: Kprobe) -> None:
        """Write the breakpoint, and ask for a jump if it may be one (``__arm_kprobe()``)."""
        self.make_way(head.addr or 0)
        self._arming.arm(head)
        if self._may_jump(head):
            self._optimize(head)
        else:
            self._unoptimize(head)

    def disarm(self, head: Kprobe) -> None:
        """Take the jump or the breakpoint out (``__disarm_kprobe()``)."""
        self._unoptimize(head)
        self._arming.disarm(head)

    def release(self, head: Kprobe) -> None:
        """Free the slot and the detour; the CPU may still be on its way through them."""
        self._free_detour(head)
        self._arming.release(head)

    def abandon(self, head: Kprobe) -> None:
        """The code goes away, and what is in it does not matter (``kill_optimized_kprobe()``)."""
        self._queue.discard(head.addr or 0)
        self._writer.finish()
        self._writer.forget(head.addr or 0)
        self._jumps.discard(head.addr or 0)
        head.flags &= ~KprobeFlag.OPTIMIZED
        head.detour = None
        self._free_detour(head)
        self._arming.abandon(head)

    # -- asking for a jump, and for a breakpoint ---------------------------------------------------

    def _may_jump(self, head: Kprobe) -> bool:
        """Neither through ftrace, nor with handlers that only a breakpoint can serve."""
        return (
            self.allowed
            and not head.flags & KprobeFlag.FTRACE
            and head.post_handler is None
            and not has_jprobe(head)  # which goes elsewhere
        )

    def _optimize(self, head: Kprobe) -> None:
        """``optimize_kprobe()``: turn a breakpoint into a jump."""
        address = head.addr or 0
        if head.flags & KprobeFlag.OPTIMIZED:
            return
        made = self._detours.get(address) or self._make_detour(address)
        if made is None or self._is_blocked(made):
            return
        head = self._with_head(head)
        head.flags |= KprobeFlag.OPTIMIZED
        head.detour = made.resume
        self._queue.add(address)

    @property
    def has_jumps(self) -> bool:
        """Whether a breakpoint is a jump now."""
        return bool(self._jumps)

    def wrap(self, p: Kprobe) -> Kprobe:
        """``try_to_optimize_kprobe()``: a head for ``p``, if it could ever be a jump; else ``p``.

        The kernel does it when ``p`` is registered. Here it is put off until a jump is asked for,
        or until somebody could tell the difference: a hit without a head is a quicker one.
        """
        address = p.addr or 0
        if p.flags & KprobeFlag.FTRACE or not (
            self._detours.get(address) or self._make_detour(address)
        ):
            return p
        return self._with_head(p)

    def _with_head(self, p: Kprobe) -> AggrKprobe:
        if isinstance(p, AggrKprobe):
            return p
        head = self._table.heads[p.addr or 0] = AggrKprobe(p, self._ctlblk, strict=self._strict)
        return head

    def _unoptimize(self, head: Kprobe) -> None:
        """``unoptimize_kprobe()``, forced: a jump becomes the breakpoint that it was."""
        address = head.addr or 0
        if head.flags & KprobeFlag.OPTIMIZED:
            head.flags &= ~KprobeFlag.OPTIMIZED
            head.detour = None
            self._queue.discard(address)
            self._writer.finish()
            self._writer.forget(address)
            if address in self._jumps:
                self._jumps.remove(address)
                self._arming.unjump(address)

    def make_way(self, address: int) -> None:
        """``get_optimized_kprobe()``: a breakpoint is about to be written inside of a jump."""
        for start in range(address - LONGEST_COPY + 1, address) if self._detours else ():
            made = self._detours.get(start)
            if made is not None and address < start + made.size:
                self._unoptimize(self._table.heads[start])

    def can_jump(self, address: int) -> bool:
        """Whether the kernel would make a jump of a probe there."""
        return bool(self._optimizable.size(address))

    def _make_detour(self, address: int) -> Detour | None:
        """``arch_prepare_optimized_kprobe()``; ``None``: the probe stays a breakpoint."""
        size = self._optimizable.size(address)
        if not size:
            return None
        idle = self._machine.depth == 0
        buffer = self.buffers.get(collect=idle)
        called = self._body.make(address, collect=idle)
        try:
            made = detour(self._arming.read_original, address, size, buffer, called)
        except Refused:  # something is too far away
            self.buffers.free(buffer, dirty=False)
            self._body.free(address)
            return None
        self._machine.text.poke(buffer, made.code, "kprobe detour")
        self._detours[address] = made
        self._body.attach(made)
        self._copies.add_all(made.copies)
        return made

    def _free_detour(self, head: Kprobe) -> None:
        made = self._detours.pop(head.addr or 0, None)
        if made is not None:
            self._body.free(made.address)
            for copy, _ in made.copies:
                self._copies.drop(copy)
            self.buffers.free(made.buffer, dirty=True)

    def _is_blocked(self, made: Detour) -> bool:
        """``arch_check_optimized_kprobe()``: whether another probe is where the jump would be."""
        others = map(self._table.heads.get, range(made.address + 1, made.address + made.size))
        return any(other is not None and not other.disabled for other in others)

    # -- the work ----------------------------------------------------------------------------------

    def wait(self) -> None:
        """``wait_for_kprobe_optimizer()``: write the jumps that have been asked for.

        But none that would make the code do something else: the kernel does that, and ``strict``.
        Raises :class:`UsageError` while guest code is being executed, which may be right there.
        """
        if self._machine.depth:
            raise UsageError("a handler cannot wait for the optimizer: call this between calls")
        for address in sorted(self._queue):
            self._write(address)
        self._queue.clear()

    def kick(self) -> None:
        """``kick_kprobe_optimizer()``: the jumps that have been asked for are to be written.

        In a race a handler may ask for it: each is then written in three steps, one at each turn of
        a CPU, and who comes to it meanwhile goes where it will lead. Else it is done at once, if no
        guest code is being executed, and later if some is.
        """
        if not self._machine.depth:
            self.wait()
        elif self._machine.has_turns:
            ready = [address for address in sorted(self._queue) if self._may_write(address)]
            self._queue.clear()
            self._writer.begin([self._detours[address] for address in ready])

    def write_now(self, address: int) -> None:
        """Do what :meth:`wait` does, for one jump."""
        if address in self._queue and not self._machine.depth:
            self._queue.remove(address)
            self._write(address)

    def _write(self, address: int) -> None:
        if self._may_write(address):
            self._arming.jump(address, self._detours[address].jump)
            self._jumps.add(address)

    def _may_write(self, address: int) -> bool:
        return self._strict or not self._optimizable.is_entered(address)
