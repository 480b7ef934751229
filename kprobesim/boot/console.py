"""The guest's serial console as the host sees it: what it printed, and what is typed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from kprobesim.boot.state import Block, Saved, fields
from kprobesim.errors import UsageError

__all__ = ["Console"]


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

    def __repr__(self) -> str:
        last = next((line for line in reversed(self.tail().splitlines()) if line.strip()), "")
        return f"<Console of {len(self.output)} bytes, at the end {last!r}>"

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        r"""All output, decoded, with the line ends of text: the driver sends ``\r\n``."""
        return self.output.decode("utf-8", "replace").replace("\r\n", "\n")

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
        self.output += data
        for listener in self.listeners:
            listener(data)

    @property
    def waiting(self) -> int:
        """How many typed bytes wait."""
        return len(self._input)

    def take(self) -> int | None:
        """The next typed byte, if there is one."""
        return self._input.popleft() if self._input else None
