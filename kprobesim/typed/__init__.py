"""What lies in a guest's memory, as the kernel's own types say: members, elements, pointers."""

from kprobesim.typed.home import Home
from kprobesim.typed.value import TypedValue

__all__ = ["Home", "TypedValue"]
