"""Parquet, by pyarrow: a row for each entry, each number with the size that it was fetched with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About, Export, ProfileRow
from kprobesim.trace.exports.table import Column, make_columns

__all__ = ["ParquetFile", "arrow_schema"]

_ROWS = 1 << 16  # in a row group: what is kept in memory


def arrow_schema(columns: Sequence[Column]) -> Any:
    """The schema of a ``pyarrow`` table with these columns."""
    import pyarrow as pa

    def kind(column: Column) -> Any:
        if not column.bits:
            one = pa.string()
        else:
            one = getattr(pa, f"{'' if column.signed else 'u'}int{column.bits}")()
        return pa.list_(one) if column.many else one

    return pa.schema([(column.name, kind(column)) for column in columns])


class ParquetFile(Export):
    """The rows, in groups."""

    binary = True
    needs = {"pyarrow": "trace"}  # noqa: RUF012

    def __init__(self, file: IO[Any], about: About) -> None:
        import pyarrow.parquet as pq

        self._columns = make_columns(about.arguments, about.names)
        self._schema = arrow_schema(self._columns).with_metadata(
            {
                "kprobesim.release": about.release,
                "kprobesim.arch": about.arch,
                "kprobesim.definitions": "\n".join(about.definitions),
            }
        )
        self._writer = pq.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[list[Any]] = [[] for _ in self._columns]

    def add(self, entry: TraceEntry) -> None:
        for column, cells in zip(self._columns, self._rows, strict=True):
            cells.append(column.cell(entry))
        if len(self._rows[0]) == _ROWS:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.table(self._rows, schema=self._schema))
        for cells in self._rows:
            cells.clear()

    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        self._write()
        self._writer.close()

    def abandon(self) -> None:
        self._writer.is_open = False  # else it writes its end when it is collected
