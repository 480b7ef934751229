"""SQL over catalogues, by DuckDB: each kind of record is a view, whatever files they lie in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kprobesim.catalog.file import open_catalog
from kprobesim.catalog.schema import RECORDS
from kprobesim.errors import UsageError
from kprobesim.extras import needed

__all__ = ["Answer", "catalog_files", "query"]

_ENDING = "*.parquet"
#: The views; ``kernels`` has a row for each, made of those of its records.
_VIEWS = {
    "functions": "function",
    "symbols": "symbol",
    "types": "type",
    "members": "member",
    "enumerators": "enumerator",
    "tracepoints": "tracepoint",
    "options": "option",
}
_MAY_HOLD_OTHERS = ("EXPLAIN", "MULTI")
_WRITES = re.compile(r"\b(?:COPY|EXPORT)\b", re.IGNORECASE)
_KERNELS = ("build id", "banner", "model", "container", "file")


class Answer(NamedTuple):
    """What a query gives: the names of its columns, and its rows as they come."""

    columns: list[str]
    rows: Iterable[tuple[Any, ...]]


def catalog_files(places: Iterable[str | Path]) -> list[Path]:
    """The catalogues that are named, and those in folders that are named, in order.

    Raises:
        UsageError: There are none.
    """
    found: list[Path] = []
    for place in map(Path, places):
        if place.is_dir():
            inside = sorted(place.glob(_ENDING))
            if not inside:
                raise UsageError(
                    f"{place}: no catalogue is in it; make some: "
                    f"kprobesim catalog build KERNEL... -o {place}"
                )
            found += inside
        elif place.exists():
            found.append(place)
        else:
            raise UsageError(f"{place}: there is no such file or directory")
    return list(dict.fromkeys(found))


def query(sql: str, files: Sequence[Path]) -> Answer:
    """What ``sql`` finds in the catalogues ``files``.

    Views are ``kernels``, ``functions``, ``symbols``, ``types``, ``members``, ``enumerators``,
    ``tracepoints`` and ``options``. SQL can read these catalogues and no other file, and writes
    none.

    Raises:
        CatalogError: One of the files is no sound catalogue.
        UsageError: DuckDB does not understand ``sql``, or is not installed; ``sql`` asks for
            another file, or is more than a query.
    """
    duckdb = needed("duckdb", "catalog")
    for file in files:
        open_catalog(file)
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    connection.read_parquet([str(file) for file in files]).create_view("records")
    for view, record in _VIEWS.items():
        wanted = ", ".join(f'"{name}"' for name in ("kernel", "arch", *RECORDS[record]))
        connection.execute(
            f"CREATE VIEW {view} AS SELECT {wanted} FROM records WHERE record = '{record}'"
        )
    facts = ", ".join(
        f"any_value(text) FILTER (name = '{name}') AS \"{name.replace(' ', '_')}\""
        for name in _KERNELS
    )
    connection.execute(
        f"CREATE VIEW kernels AS SELECT kernel, arch, {facts} FROM records "
        "WHERE record = 'kernel' GROUP BY kernel, arch"
    )
    connection.execute("SET allowed_paths = $paths", {"paths": [str(file) for file in files]})
    connection.execute("SET enable_external_access = false")  # for good: nobody can undo it
    try:
        if not all(map(_only_reads, connection.extract_statements(sql))):
            raise UsageError("only queries are answered (SELECT, DESCRIBE, SUMMARIZE, EXPLAIN ...)")
        connection.execute(sql)
        columns = [column[0] for column in connection.description or ()]
    except duckdb.Error as error:
        raise _not_understood(error) from error
    return Answer(columns, _rows(duckdb, connection))


def _only_reads(statement: Any) -> bool:
    """Whether it is a query: DuckDB would write to what it may read.

    What explains one, and a PIVOT, which is several statements, could hold a COPY.
    """
    kind = statement.type.name
    return kind == "SELECT" or (kind in _MAY_HOLD_OTHERS and not _WRITES.search(statement.query))


def _rows(duckdb: Any, connection: Any) -> Iterable[tuple[Any, ...]]:
    while True:
        try:
            rows = connection.fetchmany(1000)
        except duckdb.Error as error:
            raise _not_understood(error) from error
        if not rows:
            return
        yield from rows


def _not_understood(error: Exception) -> UsageError:
    return UsageError(f"DuckDB says: {str(error).splitlines()[0]}")
