"""Who wants to be called before the instruction at an address: any number of clients, in order.

Unicorn calls the hooks of one address in the order in which they came, and has no other
(unicorn#840). So each address has one hook, and its clients' order is kept here: a return is seen
before the hit of a probe on the very instruction that it returns to, whoever came first.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

from kprobesim.machine.text import KernelText
from kprobesim.machine.unicorn.engine import Engine
from kprobesim.machine.unicorn.native import Native, caller_of

__all__ = [
    "INSIDE",
    "INSTRUCTIONS",
    "PROBES",
    "RETURNS",
    "STEPS",
    "Arrival",
    "CodeWatch",
    "UnguardedArrival",
    "Watch",
]

STEPS, RETURNS, INSIDE, PROBES, INSTRUCTIONS = 300, 200, 100, 0, -100
"""Priorities: the end of the instruction before, returns of followed calls, what we know of the
kernel's inside, probes; and who does the instruction itself, when it comes to that."""

Arrival = Callable[[int], object]
"""Called with the instruction's address; true if the CPU goes elsewhere, so that nobody else is
called."""
UnguardedArrival = Callable[[object, int], object]
"""The same with the address as its second argument, where nothing is raised.

What would be is handed to ``engine.hooks.keep()``, with true as the answer. Every arrival is
guarded so; one that does it itself spares each hit a frame of Python, 50 ns.
"""


def _nobody(_uc: object, _address: int) -> None:
    """Called in the place of a client that has gone."""


class Watch:
    """One client of one address, for :meth:`CodeWatch.unwatch`."""

    __slots__ = ("address", "arrived", "native", "priority")

    def __init__(
        self, address: int, arrived: UnguardedArrival, priority: int, native: Native | None = None
    ) -> None:
        self.address = address
        self.arrived = arrived
        self.priority = priority
        self.native = native

    def __repr__(self) -> str:
        return f"<Watch {self.address:#x} priority {self.priority}>"


class CodeWatch:
    """The watched addresses of one engine, whose code is that of ``text``."""

    def __init__(self, engine: Engine, text: KernelText) -> None:
        self._engine = engine
        self._text = text
        self._watches: dict[int, tuple[Watch, ...]] = {}
        self._guarded: WeakValueDictionary[Arrival, UnguardedArrival] = WeakValueDictionary()
        self._callers: dict[int, Callable[[int, int], None]] = {}  # of machine code, by address
        self._arrived = self._make_arrived()  # for addresses with several clients
        self._mixed = self._make_mixed()  # of which some are machine code
        self.comes_again: Callable[[int], bool] = lambda address: False
        """Whether the arrival at an address continues one that a client has left its block in."""

    def watch(self, address: int, arrived: Arrival, priority: int = PROBES) -> Watch:
        """Call ``arrived(address)`` before each execution of the instruction at ``address``.

        Args:
            address: Virtual; nothing need be mapped there yet.
            arrived: Code that is running may come to it once more after :meth:`unwatch`. What it
                raises ends the run and is raised there. True: it has moved the CPU
                (by :meth:`Engine.write_pc <kprobesim.machine.unicorn.engine.Engine.write_pc>`),
                and the other clients are not called.
            priority: Higher ones are called first, equal ones in the order of their coming, as in
                ``notifier_chain_register()``.

        Returns:
            The handle for :meth:`unwatch`.
        """
        guarded = self._guarded.get(arrived)
        if guarded is None:
            guarded = self._guarded[arrived] = self._guard(arrived)
        return self.watch_unguarded(address, guarded, priority)

    def watch_unguarded(
        self, address: int, arrived: UnguardedArrival, priority: int = PROBES
    ) -> Watch:
        """As :meth:`watch`, with a client that raises nothing."""
        return self._add(Watch(address, arrived, priority))

    def watch_native(self, address: int, native: Native, priority: int = PROBES) -> Watch:
        """As :meth:`watch`, with a client that is no Python, and never moves the CPU.

        Where it is alone, no Python is on its way.
        """
        return self._add(Watch(address, _nobody, priority, native))

    def _add(self, watch: Watch) -> Watch:
        address, priority = watch.address, watch.priority
        before = self._watches.get(address, ())
        if before:
            at = sum(other.priority >= priority for other in before)
            self._watches[address] = (*before[:at], watch, *before[at:])
        else:
            self._watches[address] = (watch,)
        self._arm(address)
        # Python may leave the block, for which one with machine code alone does not look.
        first = not before or (watch.native is None and all(each.native for each in before))
        if first or not self._engine.dispatch.live:
            self._forget(address)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Call the client no more, not even for the arrival that is being told now.

        Nothing happens if that was done already.
        """
        watch.arrived = _nobody
        address = watch.address
        before = self._watches.get(address, ())
        left = tuple(other for other in before if other is not watch)
        if len(left) == len(before):
            return
        if left:
            self._watches[address] = left
            self._arm(address)
            if not self._engine.dispatch.live:
                self._forget(address)
            return
        del self._watches[address]
        self._engine.dispatch.disarm(address)
        self._forget(address)

    def call_instead(self, watch: Watch, arrived: UnguardedArrival) -> None:
        """Let the client of ``watch`` be ``arrived`` from now on, in its place among the others."""
        watch.arrived = arrived
        self._arm(watch.address)
        if not self._engine.dispatch.live:
            self._forget(watch.address)

    def _arm(self, address: int) -> None:
        """Let the engine call the clients there; a single one directly."""
        clients, dispatch, hooks = self._watches[address], self._engine.dispatch, self._engine.hooks
        if len(clients) == 1:
            native = clients[0].native
            called = hooks.arrival(clients[0].arrived) if native is None else native
            dispatch.arm(address, called, leaves=native is None)
            return
        natives = [each.native for each in clients if each.native is not None]
        leaves = len(natives) < len(clients)
        if not leaves and dispatch.live:
            dispatch.arm(address, dispatch.chain(natives), leaves=False)
            return
        for each in clients:
            if each.native is not None:
                each.arrived = self._caller(each.native)
        dispatch.arm(
            address, hooks.arrival(self._mixed if natives else self._arrived), leaves=leaves
        )

    def _caller(self, native: Native) -> UnguardedArrival:
        call = self._callers.get(native.function)
        if call is None:
            call = caller_of(native.function, self._engine.hooks.handle)
            self._callers[native.function] = call
        return lambda _uc, address: call(address, native.data)

    def __len__(self) -> int:
        """How many addresses are watched."""
        return len(self._watches)

    def _forget(self, address: int) -> None:
        """Drop what was translated without the hook, or with it.

        Where no code is, nothing was translated. In user mode the page tables that the CPU uses
        may hide the kernel, so it cannot be told; the engine then forgets all.
        """
        engine = self._engine
        if self._text.is_code(address) or engine.in_user_mode():
            engine.forget_code(address, address + 1)

    def _guard(self, arrived: Arrival) -> UnguardedArrival:
        keep = self._engine.hooks.keep

        def guarded(_uc: object, address: int) -> object:
            try:
                return arrived(address)
            except BaseException as error:
                keep(error)
                return True

        return guarded

    def _make_arrived(self) -> UnguardedArrival:
        watches, keep = self._watches, self._engine.hooks.keep

        def arrived(uc: object, address: int) -> None:
            try:  # an exception of a signal's may come even here
                # Not there: code that was translated before the last client left.
                for watch in watches.get(address, ()):
                    if watch.arrived(uc, address):
                        return
            except BaseException as error:
                keep(error)

        return arrived

    def _make_mixed(self) -> UnguardedArrival:
        """The same with machine code among the clients, which knows nothing of coming again."""
        watches, keep = self._watches, self._engine.hooks.keep
        left: Watch | None = None

        def arrived(uc: object, address: int) -> None:
            nonlocal left
            try:
                clients = watches.get(address, ())
                told = clients.index(left) if left in clients and self.comes_again(address) else 0
                left = None
                for number, watch in enumerate(clients):
                    if number < told and watch.native is not None:
                        continue
                    if watch.arrived(uc, address):
                        left = watch
                        return
            except BaseException as error:
                keep(error)

        return arrived
