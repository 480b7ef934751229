"""The kinds of CO-RE relocations: ``enum bpf_core_relo_kind`` of include/uapi/linux/bpf.h."""

from __future__ import annotations

import enum

__all__ = ["CoreKind"]


class CoreKind(enum.IntEnum):
    """What an instruction is told about the kernel."""

    BYTE_OFFSET = 0
    BYTE_SIZE = 1
    EXISTS = 2
    SIGNED = 3
    LSHIFT_U64 = 4
    RSHIFT_U64 = 5
    TYPE_ID_LOCAL = 6
    TYPE_ID_TARGET = 7
    TYPE_EXISTS = 8
    TYPE_SIZE = 9
    ENUM_VALUE_EXISTS = 10
    ENUM_VALUE = 11
    TYPE_MATCHES = 12

    @property
    def text(self) -> str:
        """What libbpf calls it in its log."""
        return _TEXTS[self]

    @property
    def is_of_field(self) -> bool:
        """Whether it is about a member or an element."""
        return self <= CoreKind.RSHIFT_U64

    @property
    def is_of_enum(self) -> bool:
        """Whether it is about a value of an enum."""
        return self in (CoreKind.ENUM_VALUE_EXISTS, CoreKind.ENUM_VALUE)

    @property
    def is_of_type(self) -> bool:
        """Whether it is about a whole type."""
        return not self.is_of_field and not self.is_of_enum

    @property
    def is_question(self) -> bool:
        """Whether its value is 1 or 0: is there such a thing?"""
        return self in _QUESTIONS


_TEXTS = {
    CoreKind.BYTE_OFFSET: "byte_off",
    CoreKind.BYTE_SIZE: "byte_sz",
    CoreKind.EXISTS: "field_exists",
    CoreKind.SIGNED: "signed",
    CoreKind.LSHIFT_U64: "lshift_u64",
    CoreKind.RSHIFT_U64: "rshift_u64",
    CoreKind.TYPE_ID_LOCAL: "local_type_id",
    CoreKind.TYPE_ID_TARGET: "target_type_id",
    CoreKind.TYPE_EXISTS: "type_exists",
    CoreKind.TYPE_SIZE: "type_size",
    CoreKind.ENUM_VALUE_EXISTS: "enumval_exists",
    CoreKind.ENUM_VALUE: "enumval_value",
    CoreKind.TYPE_MATCHES: "type_matches",
}
_QUESTIONS = frozenset(
    {
        CoreKind.EXISTS,
        CoreKind.TYPE_EXISTS,
        CoreKind.TYPE_MATCHES,
        CoreKind.ENUM_VALUE_EXISTS,
    }
)
