"""Planting programs: stores are made, code is compiled or interpreted, probes are registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kprobesim.arch.architecture import architecture
from kprobesim.errors import UsageError
from kprobesim.inside.tasks import Tasks
from kprobesim.kprobes.kprobe import Kprobe, KprobeFlag
from kprobesim.kprobes.manager import KprobesManager
from kprobesim.machine.code_watch import INSIDE
from kprobesim.machine.system import System
from kprobesim.machine.unicorn.native import Native, caller_of
from kprobesim.programs.actions import Action, Count, Keyed, Record
from kprobesim.programs.appending import Append
from kprobesim.programs.calling import Call
from kprobesim.programs.compiler.block import STORES, block_words
from kprobesim.programs.fault import FAULT
from kprobesim.programs.following import Following
from kprobesim.programs.guest import guest_of
from kprobesim.programs.interpreter import interpret
from kprobesim.programs.planted import Planted
from kprobesim.programs.probe import ProgramProbe
from kprobesim.programs.program import Program
from kprobesim.programs.return_probe import ReturnProgramProbe
from kprobesim.programs.stores.callback import Callback
from kprobesim.programs.stores.cells import cell_of
from kprobesim.programs.stores.counts import Counts
from kprobesim.programs.stores.layout import layout_of_key, layout_of_record
from kprobesim.programs.stores.ring import Ring
from kprobesim.programs.stores.single import Counter, Single
from kprobesim.programs.stores.stream import Stream
from kprobesim.programs.stores.table import Table
from kprobesim.programs.stores.words import Words, address_of, new_words
from kprobesim.programs.task import TaskFacts

if TYPE_CHECKING:
    from kprobesim.programs.compiler.jit import Code

__all__ = ["Programs"]

_S = TypeVar("_S", bound=Stream)
_NO_COMPILER = "llvmlite is not installed (pip install 'kprobesim[jit]')"


class Programs:
    """The programs of one guest, and the code that was compiled for them.

    Attributes:
        following: The calls that compiled return programs follow.
        stacks: What ``stack_id`` stands for.
    """

    def __init__(self, machine: System, kprobes: KprobesManager, tasks: Tasks) -> None:
        """None yet."""
        self._machine = machine
        self._kprobes = kprobes
        self._abi = architecture(machine.arch).abi
        self._guest = guest_of(machine, tasks, kprobes.rules.image)
        self._facts = TaskFacts(machine, self._guest)
        self.stacks = self._guest.stacks
        self.following = Following(machine, kprobes.rules.image, self._guest)
        self._codes: dict[tuple[Any, ...], Code] = {}
        kprobes.returns.followers.append(self.following.pending)

    def plant(
        self, names: Sequence[str], program: Program, *, many: bool, compiled: bool | None = None
    ) -> Planted:
        """Register a probe for each of ``names`` that does what ``program`` says.

        Args:
            names: Functions, or places in them ("vfs_read+0x10").
            program: What is done at each hit.
            many: Whether each has a counter of its own.
            compiled: ``True``: it must be compiled; ``False``: it must not; by default where it
                can be.

        Raises:
            KprobeError: A probe is refused; none is registered.
            UsageError: The program does not fit, or cannot be compiled.
        """
        planted = self.prepare(names, program, many=many, compiled=compiled)
        probes = planted.probes
        self.register(planted)
        if program.returns:
            return planted
        try:
            for p in probes:
                if not p.flags & KprobeFlag.ON_FUNC_ENTRY:
                    program.check_place(self._abi, p.place)
        except UsageError:
            self._kprobes.unregister_kprobes(probes)
            raise
        return planted

    def prepare(
        self,
        names: Sequence[str],
        program: Program,
        *,
        many: bool,
        compiled: bool | None = None,
        places: Sequence[Mapping[str, Any]] | None = None,
    ) -> Planted:
        """As :meth:`plant`, but no probe is registered yet.

        ``places`` are the arguments of each ``Kprobe``, where it is not the name that says where.
        """
        if compiled not in (None, True, False):
            raise UsageError(f"compiled {compiled!r}: give True, False, or None")
        program.check(self._abi)
        code, why_not = self._code_of(program, compiled)
        stores = [self._store(action, names, many=many) for action in program.actions]
        size = block_words(len(stores))
        blocks = new_words(size * len(names))
        kind = ReturnProgramProbe if program.returns else ProgramProbe
        places = [{"symbol_name": name} for name in names] if places is None else places
        probes = [
            kind(place, program, blocks, size * number) for number, place in enumerate(places)
        ]
        if code is None:
            for p, name in zip(probes, names, strict=True):
                mine = [_own(store, name) for store in stores]
                self._interpret(p, interpret(program, self, mine, p.count))
        else:
            self._fill(blocks, size, stores, names)
            self._call_code(probes, code, blocks, size, stores)
        machine, kprobes = self._machine, self._kprobes
        planted = Planted(program, names, probes, stores, compiled, why_not, machine.turn, kprobes)
        planted.places, planted.stacks = tuple(places), self.stacks
        return planted

    def _code_of(self, program: Program, compiled: bool | None) -> tuple[Code | None, str]:
        """The code of a program, or why there is none."""
        if compiled is False:
            return None, "compiled=False"
        code, why_not = self._compile(program)
        if code is None and compiled:
            raise UsageError(f"the program cannot be compiled: {why_not}")
        return code, why_not

    def exchange(self, planted: Planted, program: Program) -> Planted:
        """Let the probes of ``planted`` do ``program`` from now on; what they counted stays.

        They must be disabled or not registered. Calls that a return program follows are forgotten.

        Returns:
            What is planted now; the probes are the same, unless Python follows, or has
            followed, returns.
        """
        compiled = None if planted.asked is None else planted.asked
        made = self.prepare(
            planted.names, program, many=False, compiled=compiled, places=planted.places
        )
        gone = any(p.flags & KprobeFlag.GONE for p in planted.probes)
        by_python = not (made.compiled and planted.compiled)
        if program.returns and by_python and not gone:
            self._replace(planted, made)
            return made
        for p, other in zip(planted.probes, made.probes, strict=True):
            p.become(other)
        made.probes = planted.probes
        for p in made.probes:
            p.planted = made
        return made

    def _replace(self, planted: Planted, made: Planted) -> None:
        """Register the probes of ``made`` in the place of those of ``planted``.

        Python follows returns by a return probe, and compiled code by itself.
        """
        registered = all(p in self._kprobes for p in planted.probes)
        planted.remove()
        for p, other in zip(planted.probes, made.probes, strict=True):
            other.remember(p.hits, p.faults)
            other.nmissed = p.nmissed
            other.flags |= p.flags & KprobeFlag.DISABLED
        if registered:
            self.register(made)

    @property
    def now(self) -> int:
        """The guest's time, in nanoseconds."""
        return self._facts.now()

    @property
    def cpus(self) -> int:
        """How many CPUs there are."""
        return len(self._machine.vcpus)

    @property
    def online(self) -> int:
        """How many of them are switched on."""
        return self._machine.online()

    @property
    def cpu(self) -> int:
        """The number of the one that runs."""
        return self._machine.vcpu.number

    def new_stream(self, kind: type[_S] = Stream) -> _S:  # type: ignore[assignment]
        """A stream for :class:`~kprobesim.programs.appending.Append`, still empty."""
        return kind(self._machine.engine.hooks.keep)

    def per_cpu(self, stream: Stream) -> None:
        """Let each CPU know for itself whether it has written to ``stream``."""
        self._machine.per_cpu_words(stream.per_cpu)

    def by_python(self, program: Program) -> tuple[Callable[[Any, int], None], list[Any]]:
        """What does ``program`` by Python when it is called, and what its actions keep.

        It is planted nowhere: who has something to tell calls it, with registers and a place.
        """
        stores = [self._store(action, [""], many=False) for action in program.actions]
        mine = [_own(store, "") for store in stores]
        return interpret(program, self, mine, lambda counter: None), stores

    def watch(self, address: int, program: Program) -> Sequence[Any]:
        """Do what ``program`` says whenever the CPU comes to ``address``; it is no probe.

        Returns:
            What its actions keep.
        """
        planted = self.prepare([f"{address:#x}"], program, many=False, places=[{"addr": address}])
        (p,) = planted.probes
        watch = self._machine.code_watch
        if p.native is not None:
            watch.watch_native(address, p.native, INSIDE)
        else:
            run = interpret(program, self, planted.stores, p.count)
            watch.watch(address, lambda here: run(self._machine.regs, here), INSIDE)
        return planted.stores

    def _interpret(self, p: ProgramProbe, run: Callable[[Any, int], None]) -> None:
        """Let the hits of ``p`` call ``run``."""
        if isinstance(p, ReturnProgramProbe):
            p.return_by_python(run, self._facts, p.program.maxactive)
        else:
            p.use_python(run)

    def _fill(self, blocks: Words, size: int, stores: Sequence[Any], names: Sequence[str]) -> None:
        """Write into the block of each probe where its stores are."""
        for index, store in enumerate(stores, STORES):
            if isinstance(store, Counts):
                addresses: list[Any] = [store.address(name) for name in names]
            else:
                addresses = [store.address] * len(names)
            blocks[index : len(blocks) : size] = addresses

    def _call_code(
        self, probes: Sequence[ProgramProbe], code: Code, blocks: Words, size: int, stores: Any
    ) -> None:
        """Let the hits of all ``probes`` call one compiled function, each with its block."""
        function, start, keep = code.address("hit"), address_of(blocks), (code, blocks, stores)
        handler = self._make_handler(function)
        for number, p in enumerate(probes):
            p.use_native(Native(function, start + 8 * size * number, keep), handler)
            if isinstance(p, ReturnProgramProbe):
                p.follow(self.following, self._maxactive(p.program), code.address("returned"))

    def _make_handler(self, function: int) -> Callable[[Kprobe, Any], None]:
        """The handler of a hit that Python is told of, too: it may have other returns."""
        call = caller_of(function, self._machine.engine.hooks.handle)
        returns, facts, real = self._kprobes.returns, self._facts, self._guest.caller

        def call_native(p: Kprobe, regs: Any) -> None:
            data = p.native.data if p.native is not None else 0
            if returns.trampoline < 0:
                call(p.addr or 0, data)
                return
            real[0] = facts.caller() or 0
            call(p.addr or 0, data)
            real[0] = 0

        return call_native

    def _maxactive(self, program: Program) -> int:
        """How many calls a return program follows at a time."""
        most = program.maxactive
        return most if most > 0 else self._kprobes.return_probes.default_maxactive

    def register(self, planted: Planted) -> None:
        """Register all probes of what :meth:`prepare` gave, or none of them."""
        if planted.program.returns and not planted.compiled:
            self._kprobes.return_probes.register_all(planted.return_probes)
        else:
            self._kprobes.register_kprobes(planted.probes)

    def _store(self, action: Action, names: Sequence[str], *, many: bool) -> Any:
        """What ``action`` keeps, empty."""
        keep = self._machine.engine.hooks.keep
        if isinstance(action, Append):
            return action.stream.outlet(action.fields)
        if isinstance(action, Call):
            return Callback(action.function, keep)
        if isinstance(action, Record):
            return Ring(action, layout_of_record(action), keep)
        assert isinstance(action, Keyed)
        if action.key:
            return Table(cell_of(action), layout_of_key(action), action.max_keys, keep)
        if isinstance(action, Count):
            return Counts(names) if many else Counter()
        return Single(cell_of(action))

    def _compile(self, program: Program) -> tuple[Code | None, str]:
        """The code of a program, or why there is none."""
        code = self._codes.get(program.shape)
        if code is None:
            try:
                from kprobesim.programs.compiler.hit import compile_hit
                from kprobesim.programs.compiler.refusal import NotCompiledError
            except ImportError as error:
                if error.name is None or error.name.split(".")[0] != "llvmlite":
                    raise
                return None, _NO_COMPILER
            try:
                code = self._codes[program.shape] = compile_hit(
                    program, self._guest, self.following.pending
                )
            except NotCompiledError as error:
                return None, str(error)
        return code, ""

    # -- as the surroundings of programs that are not compiled -------------------------------------

    def read(self, address: int, size: int) -> bytes:
        """Guest memory; raises :class:`GuestMemoryError`."""
        return self._machine.memory.read(address, size)

    def fact(self, name: str) -> Callable[[], Any]:
        """What tells a fact that is neither in registers nor in the hit itself."""
        known = self._facts.by_name[name]

        def fact() -> Any:
            value = known()
            return FAULT if value is None else value

        return fact

    def fact_at(self, name: str) -> Callable[[Any, int], Any]:
        """What tells a fact of the place that the CPU is at."""
        known = self._facts.at_place[name]

        def fact(regs: Any, here: int) -> Any:
            value = known(here)
            return FAULT if value is None else value

        return fact


def _own(store: Any, name: str) -> Any:
    """What the probe on ``name`` fills."""
    return store.counter(name) if isinstance(store, Counts) else store
