"""Variables whose types no BTF has: how those are written down, and found."""

from __future__ import annotations

import pytest
from makers.btf_maker import BtfMaker

from kprobesim.errors import UsageError
from kprobesim.typed import variables
from kprobesim.typed.known_variables import KNOWN, KNOWN_PER_CPU
from kprobesim.typed.variables import find_variable
from kprobesim.types.btf import Btf
from kprobesim.types.c_text import declaration
from kprobesim.types.spelling import find_type


@pytest.fixture
def types() -> tuple[Btf, ...]:
    maker = BtfMaker()
    word = maker.integer("long unsigned int", 8)
    maker.enum("node_states", [("N_ONLINE", 1), ("NR_NODE_STATES", 5)])
    maker.struct("", 16, [("seq", word, 0), ("other", word, 64)])
    maker.struct("", 16, [("seq", word, 0), ("timekeeper", word, 64)])
    maker.struct("named", 16, [("seq", word, 0), ("timekeeper", word, 64)])
    return (Btf(maker.data(), source="kernel"),)


@pytest.mark.parametrize(
    "texts, shown",
    [
        (["unsigned long [NR_NODE_STATES]"], "long unsigned int v[5]"),
        (["unsigned long [NR_NOTHING]", "unsigned long [0]"], "long unsigned int v[0]"),
        (["struct tk_data", "unsigned long *"], "long unsigned int *v"),
        (["struct nobody"], None),
    ],
)
def test_the_first_type_that_a_kernel_knows_is_taken(
    types: tuple[Btf, ...], texts: list[str], shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variables, "KNOWN", {"v": tuple(texts)})
    found = find_variable("v", types)
    assert (None if found is None else declaration(found.type, "v")) == shown


def test_a_struct_without_a_name_is_found_by_its_members(
    types: tuple[Btf, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(variables, "KNOWN", {"v": ("struct { seq timekeeper }",)})
    found = find_variable("v", types)
    assert found is not None and found.type.number == 4


def test_each_is_written_as_a_type() -> None:
    empty = (Btf(BtfMaker().data(), source="kernel"),)
    for texts in (*KNOWN.values(), *KNOWN_PER_CPU.values()):
        for text in texts:
            if not text.startswith("struct {"):
                head, _, count = text.partition("[")
                try:
                    find_type(f"{head}[1]" if count else text, empty)
                except UsageError as error:
                    pytest.fail(f"{text}: {error}")
                except ValueError:  # that type is not there
                    pass
