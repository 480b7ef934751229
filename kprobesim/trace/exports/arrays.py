"""``Arrays``: a trace in columns, for pyarrow, polars, pandas and numpy, each made once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kprobesim.extras import needed
from kprobesim.programs.fault import FAULT
from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About
from kprobesim.trace.exports.parquet_file import arrow_schema
from kprobesim.trace.exports.table import make_columns

__all__ = ["Arrays"]

_COMMON = (
    ("time", "i8"),
    ("cpu", "u4"),
    ("pid", "i4"),
    ("tgid", "i4"),
    ("comm", "U16"),
    ("flags", "u1"),
    ("preempt_count", "u1"),
    ("ip", "u8"),
)


class Arrays:
    """The ``entries``, which are no more and no others from now on."""

    def __init__(self, about: About, entries: Sequence[TraceEntry]) -> None:
        """Make nothing yet."""
        self._about, self._entries = about, entries
        self._table: Any = None
        self._records: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def table(self) -> Any:
        """The ``pyarrow.Table``."""
        if self._table is None:
            pa = needed("pyarrow", "frames")
            columns = make_columns(self._about.arguments, self._about.names)
            cells = [[column.cell(entry) for entry in self._entries] for column in columns]
            self._table = pa.table(cells, schema=arrow_schema(columns))
        return self._table

    def to_polars(self) -> Any:
        """The same memory as a ``polars.DataFrame``."""
        polars = needed("polars", "frames")
        return polars.from_arrow(self.table, rechunk=False)

    def to_pandas(self) -> Any:
        """The same memory as a ``pandas.DataFrame``."""
        pandas = needed("pandas", "frames")
        return self.table.to_pandas(types_mapper=pandas.ArrowDtype, split_blocks=True)

    def records(self, event: str) -> Any:
        """The entries of ``event`` as a structured array: read only, for it is kept."""
        if event not in self._records:
            numpy = needed("numpy", "jit")
            mine = [entry for entry in self._entries if entry.event == event]
            kinds: list[Any] = [*_COMMON]
            for argument in self._about.arguments[event]:
                kind = argument.type
                if kind.is_string:
                    values = [entry.fields[argument.name] for entry in mine]
                    texts = values if kind.count is None else [t for v in values for t in v]
                    code = f"U{max(map(len, texts), default=1) or 1}"
                else:
                    code = f"{'i' if kind.signed else 'u'}{kind.bits // 8}"
                kinds.append((argument.name, code, () if kind.count is None else (kind.count,)))
            found = numpy.zeros(len(mine), dtype=kinds)
            for name, *_ in _COMMON:
                found[name] = [getattr(entry, name) for entry in mine]
            for argument in self._about.arguments[event]:
                cells = [entry.fields[argument.name] for entry in mine]
                found[argument.name] = ["" if cell is FAULT else cell for cell in cells]
            found.flags.writeable = False
            self._records[event] = found
        return self._records[event]
