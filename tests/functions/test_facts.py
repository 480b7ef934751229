"""What symbols and code tell of functions."""

from __future__ import annotations

from pathlib import Path

import pytest

from kprobesim.functions.clones import split_clone, without_cold
from kprobesim.functions.facts import Inlining
from kprobesim.functions.functions import Functions
from kprobesim.kernel.offline import open_rules

pytestmark = pytest.mark.compiler


@pytest.mark.parametrize(
    ("name", "base", "kinds"),
    [
        ("vfs_read", "vfs_read", ()),
        ("do_x.isra.0", "do_x", ("isra",)),
        ("do_x.isra.0.cold", "do_x", ("isra", "cold")),
        ("do_x.cold.12", "do_x", ("cold",)),
        ("do_x.constprop.3.isra.0", "do_x", ("constprop", "isra")),
        ("do_x.llvm.123456789", "do_x", ("llvm",)),
        ("do_x.lto_priv.0", "do_x", ("lto_priv",)),
        ("event_exit__open.1", "event_exit__open.1", ()),
        (".hidden", ".hidden", ()),
    ],
)
def test_names_of_clones(name: str, base: str, kinds: tuple[str, ...]) -> None:
    assert split_clone(name) == (base, kinds)


def test_the_cold_part_belongs_to_its_function() -> None:
    assert without_cold("do_x.isra.0.cold") == "do_x.isra.0"
    assert without_cold("do_x.cold.3") == "do_x"
    assert without_cold("do_x.coldish") == "do_x.coldish"


def test_who_calls_whom(functions: Functions) -> None:
    assert functions.facts("partly").callers == ("second_twin",)
    assert functions.facts("twin").callers == ("first_twin", "second_twin")
    assert functions.facts("calls_clone").callers == ()


def test_code_that_alternatives_are_copied_from_calls_nobody(functions: Functions) -> None:
    assert functions.facts("untraced").callers == ("calls_untraced",)


def test_a_recursive_function_is_not_its_own_caller(functions: Functions) -> None:
    assert functions.facts("recursive").callers == ()


def test_twins_are_all_there(functions: Functions) -> None:
    facts = functions.facts("twin")
    assert facts.twins == 2
    assert len({symbol.address for symbol in facts.symbols}) == 2
    assert facts.misses_calls


def test_a_clone_has_the_callers_of_what_it_was_made_of(functions: Functions) -> None:
    facts = functions.facts("cloned")
    assert facts.symbols == ()
    assert [(clone.symbol.name, clone.kind) for clone in facts.clones] == [
        ("cloned.isra.0", "isra")
    ]
    assert facts.callers == ("calls_clone",)
    assert facts.changed_signature
    assert functions.facts("cloned.isra.0").callers == ("calls_clone",)


def test_of_a_function_that_was_split_its_callers_hold_the_rest(functions: Functions) -> None:
    facts = functions.facts("split")
    assert (facts.inlining, facts.certainty) == (Inlining.WHOLE, "exact")
    assert [clone.kind for clone in facts.clones] == ["part"]
    assert [copy.caller for copy in facts.inlined_into] == ["calls_rest"]


def test_a_function_is_where_its_own_name_is_used(functions: Functions) -> None:
    if functions.image.arch == "arm64":
        pytest.skip("anchors of sections hide which constant is meant")
    facts = functions.facts("speaks")
    assert (facts.inlining, facts.found_by, facts.certainty) == (Inlining.WHOLE, "code", "likely")
    assert [copy.caller for copy in facts.inlined_into] == ["holds_speaker"]
    facts = functions.facts("speaks_for_itself")
    assert (facts.inlining, facts.certainty) == (Inlining.PART, "likely")
    assert [copy.caller for copy in facts.inlined_into] == ["holds_other"]


def test_a_name_among_the_constants_hints_at_an_inlined_function(functions: Functions) -> None:
    facts = functions.facts("only_named")
    assert (facts.inlining, facts.certainty) == (Inlining.WHOLE, "likely")
    facts = functions.facts("logged_only")
    assert (facts.inlining, facts.certainty) == (Inlining.WHOLE, "guess")
    assert "only_named" in functions.names()


def test_an_inline_function_is_one_that_ftrace_leaves_out(functions: Functions) -> None:
    facts = functions.facts("header")
    assert (facts.inlining, facts.certainty, facts.twins) == (Inlining.PART, "guess", 2)
    facts = functions.facts("untraced")
    assert facts.inlining is Inlining.UNKNOWN  # everybody can call it: no inline function is global
    assert facts.evidence == ()


def test_what_nothing_calls_may_be_inlined_where_it_is_used(functions: Functions) -> None:
    facts = functions.facts("speaks_for_itself")
    assert facts.callers == ()
    (only,) = functions.facts("holds_more").evidence
    assert only.certainty == "guess"
    assert "nothing calls it" in only.text
    assert functions.facts("tailed").evidence == ()


def test_a_function_that_is_only_jumped_to(functions: Functions) -> None:
    facts = functions.facts("tailed")
    assert facts.callers == ("jumps",)
    assert facts.tail_called_only
    assert not functions.facts("partly").tail_called_only


@pytest.mark.parametrize("name", ["in_table", "in_code"])
def test_a_function_whose_address_is_taken(functions: Functions, name: str) -> None:
    facts = functions.facts(name)
    assert facts.address_taken
    assert facts.callers == ()
    assert not functions.facts("tailed").address_taken


def test_ftrace_does_not_know_all(functions: Functions) -> None:
    assert functions.facts("tailed").traceable is True
    assert functions.facts("untraced").traceable is False
    assert functions.facts("wholly").traceable is None


def test_a_name_that_is_not_there(functions: Functions) -> None:
    facts = functions.facts("no_such_function")
    assert facts.inlining is Inlining.GONE
    assert (facts.symbols, facts.clones, facts.callers) == ((), (), ())


def test_modules_call_and_have_functions(sample: Path) -> None:
    rules = open_rules(sample)
    functions = Functions(rules.image, rules.read)
    assert functions.facts("sample_add").inlining is Inlining.GONE
    arch = rules.arch
    rules.offer(sample.parent / f"module-{arch}.ko")
    assert rules.bring(rules.offer(sample.parent / f"client-{arch}.ko"))
    facts = functions.facts("sample_add")
    assert [symbol.module for symbol in facts.symbols] == ["kprobesim_sample"]
    assert facts.callers == ("client_square",)
    assert facts.address_taken  # it is exported
    assert facts.traceable
    assert {s.module for s in functions.facts("cleanup_module").symbols} == {
        "kprobesim_client",
        "kprobesim_sample",
    }


def test_all_names_are_of_the_source(functions: Functions) -> None:
    names = [facts.name for facts in functions.facts_of_all()]
    assert names == sorted(set(names))
    assert {"cloned", "split", "twin", "partly"} <= set(names)
    assert not {"wholly", "cloned.isra.0"} & set(names)
