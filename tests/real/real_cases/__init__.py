"""All cases: real kernel functions with results that Python computes on its own."""

from __future__ import annotations

from real.real_cases import checksums, formats, numbers, strings, structures
from real.real_cases.case import Case, Guest

CASES = [
    *strings.CASES,
    *numbers.CASES,
    *checksums.CASES,
    *formats.CASES,
    *structures.CASES,
]

__all__ = ["CASES", "Case", "Guest"]
