"""``Catalog``: a catalogue that was opened, of which a section is read when it is asked for.

A catalogue is a Parquet file, so that everybody can query it; its last groups of rows hold one
section each. What it is and where its sections are stands in the file's own metadata, under one
checksum; each section has another, which is compared when it is read, and so is that of each page
of rows. Who wants to know of all before asking anything calls :meth:`Catalog.verify`.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from kprobesim.catalog.schema import COLUMNS, FORMAT, schema
from kprobesim.catalog.writer import FACTS_KEY, SUM_KEY
from kprobesim.errors import CatalogError
from kprobesim.extras import needed

__all__ = ["Catalog", "is_catalog", "open_catalog"]

_MAGIC = b"PAR1"
_AGAIN = "copy it again, or build it again (kprobesim catalog build)"
_LARGEST = 2 << 30


def is_catalog(path: str | os.PathLike[str]) -> bool:
    """Whether the file starts as Parquet does, which no kernel image is."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return False
        with Path(path).open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError, TypeError):
        return False


def open_catalog(path: str | os.PathLike[str]) -> Catalog:
    """Open the catalogue ``path``.

    Raises:
        CatalogError: It is none, damaged, or of a newer format.
        UsageError: pyarrow is not installed.
    """
    parquet, arrow = needed("pyarrow.parquet", "catalog"), needed("pyarrow", "catalog")
    path = Path(path)
    try:
        file = parquet.ParquetFile(path, page_checksum_verification=True)
        found = file.metadata.metadata or {}
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise CatalogError(
            path, f"cannot be read as Parquet ({_short(error)}); {_AGAIN}"
        ) from error
    text = found.get(FACTS_KEY)
    if text is None:
        raise CatalogError(
            path, "is Parquet, but no catalogue of kprobesim; name a file of `catalog build`"
        )
    if hashlib.sha256(text).hexdigest().encode() != found.get(SUM_KEY):
        raise CatalogError(path, f"is damaged: the checksum of its facts is wrong; {_AGAIN}")
    facts = json.loads(text)
    if facts.get("format") != FORMAT:
        raise CatalogError(
            path,
            f"has format {facts.get('format')}, and this kprobesim reads format {FORMAT}; "
            "build it again, or read it with the kprobesim that wrote it "
            f"({facts.get('version')})",
        )
    return Catalog(path, facts, file)


class Catalog:
    """An open catalogue.

    Attributes:
        path: The file.
        facts: What it is: ``kernel`` (release, arch, build_id ...), ``source`` (the file that it
            was made from), ``rows`` (how many of each record), and what its sections need.
    """

    def __init__(self, path: Path, facts: dict[str, Any], file: Any) -> None:
        self.path = path
        self.facts = facts
        self._file = file

    def __repr__(self) -> str:
        return f"<Catalog {self.path.name}>"

    @property
    def sections(self) -> dict[str, int]:
        """The names of all sections, and their sizes."""
        return {name: place["size"] for name, place in self.facts["sections"].items()}

    def frames(self, name: str) -> memoryview:
        """The bytes of a section of packed pages, as :meth:`section` gives them."""
        return self.section(name)

    def section(self, name: str) -> memoryview:
        """The bytes of a section.

        Raises:
            CatalogError: There is none, or it is damaged.
        """
        place = self.facts["sections"].get(name)
        if place is None:
            raise self.damaged(f"it has no section {name!r}")
        if place["size"] > _LARGEST:
            raise self.damaged(f"its section {name!r} cannot be so large")
        arrow = needed("pyarrow", "catalog")
        try:
            column = self._file.read_row_group(place["group"], columns=["data"]).column(0)
            buffer = column[0].as_buffer() if len(column) == 1 else None
        except (arrow.ArrowException, OSError, ValueError, IndexError) as error:
            raise self.damaged(f"its section {name!r} cannot be read ({_short(error)})") from error
        data = memoryview(buffer) if buffer is not None else memoryview(b"")
        if hashlib.sha256(data).hexdigest() != place["sha256"]:
            raise self.damaged(f"the checksum of its section {name!r} is wrong")
        return data

    def verify(self) -> None:
        """Read all that is in the file, and compare every checksum.

        Raises:
            CatalogError: Something in it is damaged.
        """
        for name in self.sections:
            self.section(name)
        arrow = needed("pyarrow", "catalog")
        read_already = {place["group"] for place in self.facts["sections"].values()}
        if not self._file.schema_arrow.equals(schema()):
            raise self.damaged("its columns are others than were written")
        for group in range(self._file.num_row_groups):
            columns = [n for n in COLUMNS if n != "data" or group not in read_already]
            try:
                self._file.read_row_group(group, columns=columns)
            except (arrow.ArrowException, OSError, ValueError) as error:
                raise self.damaged(f"its rows cannot be read ({_short(error)})") from error

    def damaged(self, why: str) -> CatalogError:
        """The error to raise for content that makes no sense."""
        return CatalogError(self.path, f"is damaged: {why}; {_AGAIN}")


def _short(error: Exception) -> str:
    """The first line of what a library says, without its own address in the code."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
