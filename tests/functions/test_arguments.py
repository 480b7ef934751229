"""Arguments that a compiler took out of functions, seen in their code."""

from __future__ import annotations

from pathlib import Path

import pytest
from makers.btf_maker import BtfMaker
from makers.tiny_kernel import tiny_vmlinux

from kprobesim.functions.functions import Functions
from kprobesim.kernel.offline import open_rules
from kprobesim.types.btf import Btf

pytestmark = pytest.mark.compiler

CODE = """
#define noinline __attribute__((noinline))
volatile int sink;
/* clang takes the parameter out, and what follows moves forward. */
noinline static int loses(int first, int unused, int last) { sink = first; return sink = last; }
int calls_loses(int x) { return loses(x, 5, x + 1) + 1; }
noinline static int keeps(int first, int last) { sink = first; sink = last; return sink; }
int calls_keeps(int x) { return keeps(x, x + 1) + 1; }
noinline static int is_taken(int first, int unused) { sink = first; return sink; }
int (*const table[])(int, int) = { is_taken };
int calls_taken(int x) { return is_taken(x, 7) + 1; }
noinline int everybody(int first, int unused) { sink = first; return sink; }
noinline int passes_on(int first, int last) { return keeps(first, last); }
noinline int many(const char *format, ...) { sink = format[0]; return sink; }
noinline int cloned(int first) __asm__("cloned.isra.0");
noinline int cloned(int first) { sink = first; return sink; }
int calls_clone(int x) { return cloned(x) + 1; }
noinline int kept(int first) __asm__("kept.constprop.0");
noinline int kept(int first) { sink = first; return sink; }
int calls_kept(int x) { return kept(x) + 1; }
noinline int not_declared(int first) { sink = first; return sink; }
"""
PARAMETERS = {
    "loses": ("first", "unused", "last"),
    "keeps": ("first", "last"),
    "is_taken": ("first", "unused"),
    "everybody": ("first", "unused"),
    "passes_on": ("first", "last"),
}


def _types(*more: str) -> Btf:
    maker = BtfMaker()
    number = maker.integer("int", 4, 1)
    for name, parameters in {**PARAMETERS, **dict.fromkeys(more, ("first",))}.items():
        maker.function(name, number, [(parameter, number) for parameter in parameters])
    return Btf(maker.data())


@pytest.fixture(scope="module", params=["x86_64", "arm64"])
def vmlinux(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kernel of that code, whose banner says clang."""
    path = tmp_path_factory.mktemp("arguments") / "vmlinux"
    flags = ("-fpatchable-function-entry=2",)
    path.write_bytes(tiny_vmlinux(request.param, CODE, flags=flags))
    return path


@pytest.fixture(scope="module")
def functions(vmlinux: Path) -> Functions:
    """Its functions, with types that declare no clone."""
    rules = open_rules(vmlinux)
    return Functions(rules.image, rules.read, _types())


def _arguments(functions: Functions, count: int) -> tuple[str, ...]:
    return functions.image.isa.abi.arguments[:count]


def test_a_parameter_that_was_taken_out_is_missed(functions: Functions) -> None:
    facts = functions.facts("loses")
    assert facts.changed_signature
    assert facts.lost_arguments == (2,)
    assert facts.argument_registers == _arguments(functions, 2)
    (evidence,) = facts.evidence
    assert (evidence.found_by, evidence.certainty) == ("code", "likely")


@pytest.mark.parametrize("name", ["keeps", "is_taken", "everybody", "passes_on", "many"])
def test_what_others_may_call_gets_all_that_is_declared(functions: Functions, name: str) -> None:
    facts = functions.facts(name)
    assert facts.lost_arguments == ()
    assert facts.prototype is not None or name == "many"


def test_prototypes_are_told_in_c(functions: Functions) -> None:
    assert functions.facts("loses").prototype == "int loses(int first, int unused, int last)"


def test_a_clone_tells_which_registers_it_reads(functions: Functions) -> None:
    facts = functions.facts("cloned")
    assert facts.changed_signature
    assert facts.argument_registers == _arguments(functions, 1)
    assert [evidence.found_by for evidence in facts.evidence[-2:]] == ["symbols", "code"]


def test_types_that_declare_clones_say_which_kept_their_arguments(vmlinux: Path) -> None:
    rules = open_rules(vmlinux)
    functions = Functions(rules.image, rules.read, _types("kept"))
    assert not functions.facts("kept").changed_signature
    assert functions.facts("kept").evidence[-1].found_by == "btf"


def test_what_clang_left_undeclared_has_changed(functions: Functions) -> None:
    facts = functions.facts("not_declared")
    assert facts.changed_signature
    assert (facts.evidence[-1].found_by, facts.evidence[-1].certainty) == ("btf", "likely")


def test_gcc_says_what_it_changes(vmlinux: Path, tmp_path: Path) -> None:
    path = tmp_path / "gcc"
    path.write_bytes(vmlinux.read_bytes().replace(b"(clang)", b"(gcc-9)"))
    rules = open_rules(path)
    functions = Functions(rules.image, rules.read, _types())
    assert not functions.facts("not_declared").changed_signature
    assert functions.facts("cloned").changed_signature
