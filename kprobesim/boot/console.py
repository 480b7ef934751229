"""The guest's serial console as the host sees it: what it printed, and what is typed."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from kprobesim.boot.state import Block, Put, Saved, fields, wrong_state
from kprobesim.errors import UsageError
from kprobesim.late_dataclasses import dataclass

__all__ = ["Console", "ConsoleLine"]

_STAMP = struct.Struct("<QQ")  # place in the output, nanoseconds
_NEW_LINE = 0x0A


@dataclass(frozen=True)
class ConsoleLine:
    """One line that the guest has printed.

    Attributes:
        time: Seconds of the guest's own time (as ``k.time``, and as a hit's) at its first byte;
            ``None`` for a line that is older than a snapshot which does not tell.
        text: What it says, without its end.
    """

    time: float | None
    text: str


class Console(Saved):
    """``output`` is all that the guest has printed so far; ``listeners`` hear of each piece.

    What is sent waits until the guest's driver takes it: the serial port asks :meth:`take`, and
    hears through ``on_input`` that there is something.
    """

    SAVED = fields(output=Block(), _input=Block())

    def __init__(self) -> None:
        self.output = bytearray()
        self.listeners: list[Callable[[bytes], None]] = []
        self.on_input: Callable[[], None] = lambda: None
        self._input: deque[int] = deque()
        self.now: Callable[[], int] = lambda: 0
        """The guest's time in nanoseconds; the board sets it."""
        self._stamps: dict[int, int] = {}  # when each line began, by its place in the output

    def __repr__(self) -> str:
        last = next((line for line in reversed(self.tail().splitlines()) if line.strip()), "")
        return f"<Console of {len(self.output)} bytes, at the end {last!r}>"

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        r"""All output, decoded, with the line ends of text: the driver sends ``\r\n``."""
        return self.output.decode("utf-8", "replace").replace("\r\n", "\n")

    @property
    def lines(self) -> list[ConsoleLine]:
        """All lines, with the guest's own time of each; the last may be incomplete."""
        found, at = [], 0
        for line in bytes(self.output).split(b"\n"):
            if line or at < len(self.output):
                stamp = self._stamps.get(at)
                text = line.decode("utf-8", "replace").rstrip("\r")
                found.append(ConsoleLine(None if stamp is None else stamp / 1e9, text))
            at += len(line) + 1
        return found

    def save(self) -> dict[str, Any]:
        """The state as plain data."""
        stamps = b"".join(_STAMP.pack(*stamp) for stamp in self._stamps.items())
        return {**super().save(), "stamps": stamps}

    def parse(self, state: object, where: str) -> Put:
        """Check ``state``; one without the lines' times, of an older snapshot, is fine."""
        stamps: object = b""
        if isinstance(state, dict):
            state = dict(state)
            stamps = state.pop("stamps", b"")
        if not isinstance(stamps, bytes) or len(stamps) % _STAMP.size:
            raise wrong_state(f"{where}.stamps are no times of lines")
        put_rest, times = super().parse(state, where), dict(_STAMP.iter_unpack(stamps))

        def put() -> None:
            put_rest()
            self._stamps = dict(times)

        return put

    def tail(self, lines: int = 20) -> str:
        """The last lines of the output."""
        start = max(0, len(self.output) - 256 * lines)
        text = self.output[start:].decode("utf-8", "replace").replace("\r", "")
        return "\n".join(text.splitlines()[-lines:])

    def send(self, data: bytes | str) -> None:
        """Type ``data``; text goes as UTF-8."""
        if isinstance(data, str):
            data = data.encode()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise UsageError(f"data is of type {type(data).__name__}: type text or bytes")
        self._input.extend(data)
        if data:
            self.on_input()

    # -- the serial port's side ------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """The guest prints ``data``."""
        output = self.output
        if not output or output[-1] == _NEW_LINE:
            self._stamps[len(output)] = self.now()
        at = data.find(b"\n")
        while 0 <= at < len(data) - 1:
            self._stamps[len(output) + at + 1] = self.now()
            at = data.find(b"\n", at + 1)
        output += data
        for listener in self.listeners:
            listener(data)

    @property
    def waiting(self) -> int:
        """How many typed bytes wait."""
        return len(self._input)

    def take(self) -> int | None:
        """The next typed byte, if there is one."""
        return self._input.popleft() if self._input else None
