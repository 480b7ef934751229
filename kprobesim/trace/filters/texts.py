"""What kernels say to filters that they refuse (``ERRORS``, kernel/trace/trace_events_filter.c)."""

from __future__ import annotations

__all__ = ["TEXTS"]

TEXTS = {
    "INVALID_OP": "Invalid operator",
    "TOO_MANY_OPEN": "Too many '('",
    "TOO_MANY_CLOSE": "Too few '('",
    "MISSING_QUOTE": "Missing matching quote",
    "MISSING_BRACE_OPEN": "Missing '{'",
    "MISSING_BRACE_CLOSE": "Missing '}'",
    "OPERAND_TOO_LONG": "Operand too long",
    "EXPECT_STRING": "Expecting string field",
    "EXPECT_DIGIT": "Expecting numeric field",
    "ILLEGAL_FIELD_OP": "Illegal operation for field type",
    "FIELD_NOT_FOUND": "Field not found",
    "ILLEGAL_INTVAL": "Illegal integer value",
    "BAD_SUBSYS_FILTER": "Couldn't find or set field in one of a subsystem's events",
    "TOO_MANY_PREDS": "Too many terms in predicate expression",
    "INVALID_FILTER": "Meaningless filter expression",
    "INVALID_CPULIST": "Invalid cpulist",
    "INVALID_VALUE": "Invalid value (did you forget quotes)?",
    "NO_FUNCTION": "Function not found",
    "ERRNO": "Error",
    "NO_FILTER": "No filter found",
}
"""By the kernel's name of each."""
