"""What a tool of BCC's asks the kernel before it attaches: what stands below may be missing."""

from __future__ import annotations

import re
from collections import Counter

__all__ = ["Questions"]

_ASKED = (
    r"\b(?:get_kprobe_functions|ksymname|tracepoint_exists|kernel_struct_has_field"
    r"|support_raw_tracepoint)\b"
)
_QUESTION = re.compile(rf"\s*(?:(?:el)?if\b.*{_ASKED}|try\s*:)")
_ANOTHER_BRANCH = ("elif", "else", "except")
_OF_NAME = re.compile(r"\s*(?:el)?if\s+(?:not\s+)?(?P<name>[A-Za-z_]\w*)\b")
_ANSWER = re.compile(
    rf"\s*(?P<name>[A-Za-z_]\w*)\s*=\s*(?:(?P<asked>.*{_ASKED})|(?:True|False)\s*$)"
)
_TEXT = re.compile(
    r"^[ \t]*(?P<name>[A-Za-z_]\w*)\s*=\s*[rbRB]{0,2}(?P<quote>\"\"\"|''')(?P<text>.*?)(?P=quote)",
    re.MULTILINE | re.DOTALL,
)
_LONGEST = 300  # characters of a line that are looked at


class Questions:
    """By line, the question below which it stands; a variable that holds an answer is one, too."""

    def __init__(self, text: str) -> None:
        self._by_line: dict[int, int] = {}
        self._branches: Counter[int] = Counter()
        self._names: dict[str, int] = {}
        self._lines = text.split("\n")
        self._texts = [
            (found.start("text"), found.end("text"), found["name"])
            for found in _TEXT.finditer(text)
        ]
        self._read()

    def _read(self) -> None:
        opened: list[tuple[int, int]] = []  # indentation and question
        for number, line in enumerate(self._lines, 1):
            line = line[:_LONGEST]
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            indent = len(line) - len(line.lstrip())
            goes_on = line.lstrip().startswith(_ANOTHER_BRANCH)
            while opened and (opened[-1][0] > indent or (opened[-1][0] == indent and not goes_on)):
                opened.pop()
            if opened and opened[-1][0] == indent:
                self._branches[opened[-1][1]] += 1
                continue
            question = self._asked(line)
            if question is not None:
                if opened:  # what is asked below another question goes with it
                    question = opened[0][1]
                opened.append((indent, question))
            elif opened:
                self._by_line[number] = opened[-1][1]
            self._note_answer(line, opened[-1][1] if opened else None)

    def _asked(self, line: str) -> int | None:
        """The question that a line asks."""
        if _QUESTION.match(line):
            question = self._new()
        else:
            of_name = _OF_NAME.match(line)
            if of_name is None or of_name["name"] not in self._names:
                return None
            question = self._names[of_name["name"]]
        self._branches[question] += 1
        return question

    def _note_answer(self, line: str, question: int | None) -> None:
        """A variable that holds the answer, or is set by it."""
        found = _ANSWER.match(line)
        if found is None:
            return
        if found["asked"]:
            self._names[found["name"]] = self._new()
        elif question is not None:
            self._names[found["name"]] = question

    def _new(self) -> int:
        question = len(self._branches) + 1
        self._branches[question] = 0
        return question

    def of_line(self, line: int) -> int | None:
        """The question that a line depends on."""
        return self._by_line.get(line)

    def of_place(self, place: int) -> int | None:
        """That of a place in a text that the tool only uses below a question."""
        names = [name for start, end, name in self._texts if start <= place < end]
        if not names:
            return None
        uses = re.compile(rf"(?<!\w){names[0]}(?!\w)(?!\s*=[^=])")
        found = {
            self._by_line.get(number)
            for number, line in enumerate(self._lines, 1)
            if names[0] in line and uses.search(line)
        }
        return found.pop() if len(found) == 1 else None

    def has_branches(self, question: int) -> bool:
        """Whether there is something else for the other answer."""
        return self._branches[question] > 1
