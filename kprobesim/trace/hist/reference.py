"""References to variables of histograms, ``$ts0``: what they name, and what it is at a hit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kprobesim.trace.hist.hist_field import HistField

if TYPE_CHECKING:
    from kprobesim.trace.hist.histogram import Histogram

__all__ = ["FindVariable", "Reference", "Variable"]


@dataclass(frozen=True, eq=False)
class Variable:
    """A variable of a histogram.

    Attributes:
        histogram: Whose; ``None``: of the one that is being defined.
        field: What it is.
        name: Its name, as the histogram keeps it.
    """

    histogram: Histogram | None
    field: HistField
    name: str


FindVariable = Callable[["str | None", "str | None", str], "Variable | None"]
"""The variable of that name; of any event, or of the event of that group and name."""


@dataclass(eq=False)
class Reference:
    """One that a histogram makes (``struct hist_field`` with ``HIST_FIELD_FL_VAR_REF``).

    Attributes:
        variable: What it names.
        once: The variable is not set any more when it was read: it is in an expression.
    """

    variable: Variable
    once: bool = False

    @property
    def of_itself(self) -> bool:
        """Whether the histogram names a variable of its own."""
        return self.variable.histogram is None
