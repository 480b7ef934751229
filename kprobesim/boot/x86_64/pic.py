"""The two cascaded 8259A interrupt controllers of a PC (Intel 8259A data sheet, 231468)."""

from __future__ import annotations

from kprobesim.boot.state import Flag, Number, Numbers, Parts, Saved, fields

__all__ = ["Pic", "PicPair"]

_CASCADE = 2


class Pic(Saved):
    """One 8259A: eight edge-triggered lines, fully nested, with specific and automatic EOI."""

    SAVED = fields(
        requested=Number(8),
        in_service=Number(8),
        mask=Number(8),
        base=Number(8),
        _lines=Number(8),
        _step=Number(3),
        _wants_fourth=Flag(),
        _auto_eoi=Flag(),
        _read_in_service=Flag(),
        _lowest=Number(3),
    )

    def __init__(self) -> None:
        self.requested = 0  # IRR
        self.in_service = 0  # ISR
        self.mask = 0xFF  # IMR
        self.base = 0
        self._lines = 0
        self._step = 0  # of the initialisation: which command word comes next
        self._wants_fourth = False
        self._auto_eoi = False
        self._read_in_service = False
        self._lowest = 7  # the line of lowest priority

    def set_line(self, line: int, level: bool) -> None:
        """Raise or lower an input; a rising edge is remembered."""
        bit = 1 << line
        if level:
            if not self._lines & bit:
                self._lines |= bit
                self.requested |= bit
        else:
            self._lines &= ~bit
            self.requested &= ~bit

    def pending(self) -> int:
        """The line that the CPU would be interrupted by, or -1."""
        waiting = self.requested & ~self.mask
        if not waiting:
            return -1
        for n in range(1, 9):
            line = self._lowest + n & 7
            bit = 1 << line
            if self.in_service & bit:
                return -1
            if waiting & bit:
                return line
        return -1

    def acknowledge(self) -> int:
        """The vector of the pending interrupt, which is in service from now on."""
        line = self.pending()
        if line < 0:
            return self.base + 7  # spurious
        bit = 1 << line
        self.requested &= ~bit
        if not self._auto_eoi:
            self.in_service |= bit
        return self.base + line

    def read(self, port: int) -> int:
        """Port 0 reads IRR or ISR, port 1 the mask."""
        if port:
            return self.mask
        return self.in_service if self._read_in_service else self.requested

    def write(self, port: int, value: int) -> None:
        """Command words: ICW1-4, OCW1-3."""
        if port == 0:
            if value & 0x10:
                self.requested = self.in_service = self.mask = 0
                self._lowest, self._read_in_service = 7, False
                self._auto_eoi = False
                self._step, self._wants_fourth = 2, bool(value & 1)
            elif value & 8:
                if value & 2:
                    self._read_in_service = bool(value & 1)
            elif value & 0x20:
                self._end(value)
            elif value >> 5 == 6:
                self._lowest = value & 7
        elif self._step == 2:
            self.base, self._step = value & 0xF8, 3
        elif self._step == 3:
            self._step = 4 if self._wants_fourth else 0
        elif self._step == 4:
            self._auto_eoi, self._step = bool(value & 2), 0
        else:
            self.mask = value

    def _end(self, value: int) -> None:
        """End of interrupt: bit 6 names the line, bit 7 gives it the lowest priority."""
        if value & 0x40:
            line = value & 7
        else:
            for n in range(1, 9):
                line = self._lowest + n & 7
                if self.in_service >> line & 1:
                    break
            else:
                return
        self.in_service &= ~(1 << line)
        if value & 0x80:
            self._lowest = line


class PicPair(Saved):
    """Master at ports 0x20-0x21 and slave at 0xa0-0xa1, which feeds line 2 of the master."""

    PORTS = (0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1)
    SAVED = fields(
        master=Parts(Pic.SAVED),
        slave=Parts(Pic.SAVED),
        _edge_or_level=Numbers(2, 8),
    )

    def __init__(self) -> None:
        self.master, self.slave = Pic(), Pic()
        self._edge_or_level = [0, 0]  # ELCR; no device here pulls a line that others share

    def set_line(self, irq: int, level: bool) -> None:
        """Raise or lower ISA interrupt ``irq`` (0-15)."""
        if irq >= 8:
            self.slave.set_line(irq - 8, level)
            self._cascade()
        else:
            self.master.set_line(irq, level)

    def _cascade(self) -> None:
        waiting = self.slave.pending() >= 0
        self.master.set_line(_CASCADE, False)
        if waiting:
            self.master.set_line(_CASCADE, True)

    def is_requested(self, irq: int) -> bool:
        """Whether the CPU has not yet taken ISA interrupt ``irq`` (0-7), masked or not."""
        return bool(self.master.requested >> irq & 1)

    def pending(self) -> bool:
        """Whether the CPU's interrupt input is raised."""
        return self.master.pending() >= 0

    def vector(self) -> int:
        """The vector that :meth:`acknowledge` would give."""
        line = self.master.pending()
        if line != _CASCADE:
            return self.master.base + (line if line >= 0 else 7)
        line = self.slave.pending()
        return self.slave.base + (line if line >= 0 else 7)

    def acknowledge(self) -> int:
        """The vector to deliver."""
        line = self.master.pending()
        vector = self.master.acknowledge()
        if line == _CASCADE:
            vector = self.slave.acknowledge()
            self._cascade()
        return vector

    def read(self, port: int, _size: int) -> int:
        """IN."""
        if port >= 0x4D0:
            return self._edge_or_level[port & 1]
        return (self.slave if port & 0x80 else self.master).read(port & 1)

    def write(self, port: int, _size: int, value: int) -> None:
        """OUT."""
        if port >= 0x4D0:
            self._edge_or_level[port & 1] = value & 0xFF
            return
        slave = port & 0x80
        (self.slave if slave else self.master).write(port & 1, value & 0xFF)
        if slave:
            self._cascade()
