"""Writing a catalogue: rows as they come, then the sections; it is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from kprobesim.catalog.schema import COLUMNS, FORMAT, RECORDS, schema
from kprobesim.errors import CatalogError
from kprobesim.extras import needed
from kprobesim.version import __version__

__all__ = ["FACTS_KEY", "SUM_KEY", "CatalogWriter"]

FACTS_KEY, SUM_KEY = b"kprobesim", b"kprobesim.sha256"

_ROWS = 1 << 17  # in a group; a query skips those whose names or records do not fit
_BEING_WRITTEN = ".part"
#: Text that nearly every row has another of: a dictionary would only be in the way.
_PLAIN = frozenset(("name", "prototype", "data", "address", "offset", "bit_offset", "value"))


class CatalogWriter:
    """Writes the catalogue ``path`` of the kernel ``release`` (and ``arch``); a context manager.

    The file has its name when the context is left without an error.
    """

    def __init__(self, path: Path, release: str, arch: str) -> None:
        self.path = path
        self._pa, self._parquet = needed("pyarrow", "catalog"), needed("pyarrow.parquet", "catalog")
        self._schema = schema()
        self._same = {"kernel": release, "arch": arch}
        self._new = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_BEING_WRITTEN}")
        self._groups = 0
        self._sections: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, int] = {}
        try:
            self._writer = self._parquet.ParquetWriter(
                self._new,
                self._schema,
                compression={name: "none" if name == "data" else "zstd" for name in COLUMNS},
                use_dictionary=[name for name in COLUMNS if name not in _PLAIN],
                write_statistics=[name for name in COLUMNS if name != "data"],
                write_page_checksum=True,
            )
        except OSError as error:
            raise _unwritable(path, error) from error

    def __enter__(self) -> CatalogWriter:
        return self

    def add(self, record: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Rows of one kind, as columns of equal length.

        Args:
            record: One of :data:`RECORDS`.
            columns: Some or all of those that it fills.
        """
        assert columns.keys() <= set(RECORDS[record]), record
        count = len(next(iter(columns.values())))
        self._counts[record] = self._counts.get(record, 0) + count
        for start in range(0, count, _ROWS):
            part = {name: values[start : start + _ROWS] for name, values in columns.items()}
            self._write(record, part, min(_ROWS, count - start))

    def add_sections(self, sections: Mapping[str, bytes]) -> None:
        """Packed sections, each a row and a group of its own, so that one is read alone."""
        for name, data in sections.items():
            self._sections[name] = {
                "group": self._groups,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            self._write("section", {"name": [name], "size": [len(data)], "data": [data]}, 1)

    def _write(self, record: str, columns: Mapping[str, Sequence[Any]], count: int) -> None:
        pa = self._pa
        arrays = []
        for field in self._schema:
            constant = record if field.name == "record" else self._same.get(field.name)
            if constant is not None:
                indices = pa.array([0] * count, pa.int32())
                arrays.append(pa.DictionaryArray.from_arrays(indices, pa.array([constant])))
            elif field.name in columns:
                arrays.append(_array(pa, columns[field.name], field.type))
            else:
                arrays.append(pa.nulls(count, field.type))
        self._writer.write_table(
            pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=count
        )
        self._groups += 1

    def finish(self, facts: Mapping[str, Any]) -> None:
        """End the file with ``facts``, plain data by which it is opened."""
        whole = {
            "format": FORMAT,
            "version": __version__,
            "sections": self._sections,
            "rows": self._counts,
            **facts,
        }
        text = json.dumps(whole, sort_keys=True).encode()
        sums = {FACTS_KEY: text, SUM_KEY: hashlib.sha256(text).hexdigest().encode()}
        self._writer.add_key_value_metadata(sums)
        self._writer.close()
        self._new.replace(self.path)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._new.exists():
            self._writer.close()
            self._new.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _unwritable(self.path, error) from error


def _array(pa: Any, values: Sequence[Any], kind: Any) -> Any:
    """The values as a column; those of few different ones by a dictionary."""
    if pa.types.is_dictionary(kind):
        return pa.array(values, pa.string()).dictionary_encode().cast(kind)
    return pa.array(values, kind)


def _unwritable(path: Path, error: OSError) -> CatalogError:
    why = error.strerror or str(error)
    return CatalogError(
        path, f"cannot be written ({why}); is there a directory with room and permission to write?"
    )


def abandoned(directory: Path) -> Iterable[Path]:
    """What writers that were killed have left there."""
    return directory.glob(f".*{_BEING_WRITTEN}")
