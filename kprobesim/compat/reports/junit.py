"""JUnit's XML, which all CI systems show: a suite a kernel, a test case a probe."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Collection

from kprobesim.compat.finding import Answer, Compatibility
from kprobesim.compat.kinds import Kind, Level
from kprobesim.compat.reports.texts import counting_finding, printable, probe_names, rows, sentence
from kprobesim.sources.wanted import Wanted

__all__ = ["junit_report"]

_NAME = "kprobesim compat"


def junit_report(found: Compatibility, allowed: Collection[Kind] = ()) -> str:
    """The document. What is wrong and not ``allowed`` is a failure, what is optional is skipped."""
    table = rows(found)
    names = probe_names([wanted for wanted, _ in table])
    root = ET.Element("testsuites", name=_NAME)
    for number, kernel in enumerate(found.kernels):
        suite = ET.SubElement(root, "testsuite", name=printable(kernel.label))
        properties = ET.SubElement(suite, "properties")
        for name in ("path", "release", "arch"):
            ET.SubElement(properties, "property", name=name, value=printable(getattr(kernel, name)))
        for name, (wanted, row) in zip(names, table, strict=True):
            _case(suite, name, wanted, row[number], allowed)
    if found.problems:
        _problems(root, found)
    _count(root)
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _case(
    suite: ET.Element, name: str, wanted: Wanted, answer: Answer, allowed: Collection[Kind]
) -> None:
    case = ET.SubElement(suite, "testcase", name=name, classname=printable(wanted.source), time="0")
    case.set("file", printable(wanted.source))
    if wanted.line:
        case.set("line", str(wanted.line))
    worst = answer.worst
    text = "\n".join(f"{one.kind}: {sentence(one)}" for one in answer.findings)
    counting = counting_finding(answer, allowed)
    if counting is not None:
        failure = ET.SubElement(
            case, "failure", type=str(counting.kind), message=printable(counting.message)
        )
        failure.text = text
    elif worst.level > Level.FINE and worst.errno:
        ET.SubElement(case, "skipped", message=f"{worst.kind}: {sentence(worst)}")
    else:
        ET.SubElement(case, "system-out").text = text


def _problems(root: ET.Element, found: Compatibility) -> None:
    """What could not be read, as a suite of its own."""
    suite = ET.SubElement(root, "testsuite", name="sources and kernels")
    for number, problem in enumerate(found.problems, 1):
        path = printable(problem.path)
        name = f"{path}:{problem.line}" if problem.line else path
        case = ET.SubElement(suite, "testcase", name=f"{number}. {name}", classname=path, time="0")
        case.set("file", path)
        if problem.line:
            case.set("line", str(problem.line))
        ET.SubElement(case, "error", type=str(Kind.PROBLEM), message=printable(problem.message))


def _count(root: ET.Element) -> None:
    """Write how many cases there are, and how many failed, into each suite and the whole."""
    for suite in [*root, root]:
        cases = list(suite.iter("testcase"))
        suite.set("tests", str(len(cases)))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(name, str(sum(case.find(tag) is not None for case in cases)))
        suite.set("time", "0")
