"""CSV: a row for each entry, a column for each name that an event fetches."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import IO, Any

from kprobesim.trace.entry import TraceEntry
from kprobesim.trace.exports.export import About, Export, ProfileRow
from kprobesim.trace.exports.table import Cell, make_columns

__all__ = ["CsvFile"]


class CsvFile(Export):
    """The rows; what an entry does not have is empty, an array is in braces."""

    def __init__(self, file: IO[Any], about: About) -> None:
        self._columns = make_columns(about.arguments, about.names)
        self._rows = csv.writer(file, lineterminator="\n")
        self._rows.writerow([column.name for column in self._columns])

    def add(self, entry: TraceEntry) -> None:
        self._rows.writerow([_text(column.cell(entry)) for column in self._columns])

    def finish(self, profile: Sequence[ProfileRow], lost: int) -> None:
        """Nothing stands behind the rows."""


def _text(cell: Cell) -> object:
    if isinstance(cell, tuple):
        return "{" + ",".join("" if one is None else str(one) for one in cell) + "}"
    return cell
