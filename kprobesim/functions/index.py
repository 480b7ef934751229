"""``CodeIndex``: what a search through all code of a kernel finds, kept beside its image."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, NamedTuple

from kprobesim.functions.branches import Branches
from kprobesim.image import KernelImage
from kprobesim.image.cache import code_stamp
from kprobesim.snapshot.container import Container
from kprobesim.snapshot.packing import PackingError, pack, pack_words, unpack, unpack_words

__all__ = ["CodeIndex", "kept_index"]

#: The rooms whose code decides what is found: it is searched anew when one of them changes.
_SEARCHERS = ("arch", "functions", "patching")


class CodeIndex(NamedTuple):
    """What is known of the code of one kernel or module.

    Attributes:
        branches: Every branch to another function's entry, by site.
        references: Each place that takes the address of an entry or of an own name, and what it
            takes.
        pointed: The entries whose address its data holds.
    """

    branches: Branches
    references: tuple[array[int], array[int]]
    pointed: array[int]


def kept_index(image: KernelImage, search: Callable[[], CodeIndex]) -> CodeIndex:
    """What an earlier run has kept of ``image``, or what ``search`` finds."""
    stamp = code_stamp(*_SEARCHERS)
    return image.findings.kept(
        "calls", lambda kept: _unpacked(kept, stamp), search, lambda found: _packed(found, stamp)
    )


def _packed(index: CodeIndex, stamp: str) -> tuple[dict[str, Any], dict[str, bytes]]:
    sections = {
        "sites": pack_words(index.branches.sites),
        "targets": pack_words(index.branches.targets),
        "calls": pack(bytes(index.branches.calls)),
        "references": pack_words(index.references[0]),
        "taken": pack_words(index.references[1]),
        "pointed": pack_words(index.pointed),
    }
    return {"searched by": stamp}, sections


def _unpacked(kept: Container, stamp: str) -> CodeIndex:
    """What :func:`_packed` gave.

    Raises:
        SnapshotError: It makes no sense, or other code has found it.
    """
    if kept.facts.get("searched by") != stamp:
        raise kept.damaged("another version has searched it")
    try:
        sites = unpack_words("Q", kept.section("sites"))
        targets = unpack_words("Q", kept.section("targets"), len(sites))
        calls = bytearray(unpack(kept.section("calls"), len(sites)))
        places = unpack_words("Q", kept.section("references"))
        taken = unpack_words("Q", kept.section("taken"), len(places))
        pointed = unpack_words("Q", kept.section("pointed"))
    except PackingError as error:
        raise kept.damaged(str(error)) from error
    return CodeIndex(Branches(sites, targets, calls), (places, taken), pointed)
