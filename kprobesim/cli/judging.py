"""What ``check`` says to one point: the rules' verdict, and by ``--ask`` the kernel's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kprobesim.errno_names import errno_name
from kprobesim.kernel.offline import KernelRules
from kprobesim.kprobes.rules.verdict import Verdict

if TYPE_CHECKING:
    from kprobesim.asking.ask import Answer, Asked

__all__ = ["Judge", "Judged", "modules_of"]


@dataclass(frozen=True)
class Judged:
    """One point's verdict and, if the kernel itself was asked, its answer."""

    verdict: Verdict
    answer: Answer | None = None

    def __bool__(self) -> bool:
        """Whether the probe would be accepted, and by all who were asked."""
        return bool(self.verdict) and not self.differs

    @property
    def differs(self) -> bool:
        """Whether the kernel itself says something else than our rules."""
        answer = self.answer
        return answer is not None and answer.errno not in (None, self.verdict.errno)

    def said(self) -> str:
        """What the kernel itself said, in words."""
        if self.answer is None:
            return ""
        if self.answer.errno is None:
            return f"could not be asked: {self.answer.problem}"
        number = self.answer.errno
        name = f"-{errno_name(number)}" if number else "accepts it"
        return f"{name}, which differs from the rules" if self.differs else f"{name}, too"

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain data, and under ``asked`` the kernel's own answer."""
        data = self.verdict.as_dict()
        if self.answer is not None:
            data["asked"] = {
                "errno": self.answer.errno,
                "problem": self.answer.problem,
                "differs": self.differs,
            }
        return data


class Judge:
    """Answers points of ``kernel`` with the ``options`` of :meth:`KernelRules.check`."""

    def __init__(
        self, kernel: KernelRules, options: dict[str, Any], asked: Asked | None = None
    ) -> None:
        self.kernel = kernel
        self._options = options
        self._asked = asked

    def __call__(
        self,
        symbol: str | None = None,
        *,
        addr: int | None = None,
        offset: int = 0,
        suggest: bool = True,
    ) -> Judged:
        """The answer to one point."""
        verdict = self.kernel.check(
            symbol, addr=addr, offset=offset, suggest=suggest, **self._options
        )
        if self._asked is None:
            return Judged(verdict)
        answer = self._asked.point(
            symbol,
            offset,
            addr=addr,
            kretprobe=self._options["kretprobe"],
            events=self._options["events"],
        )
        return Judged(verdict, answer)


def modules_of(symbols: Iterable[str | None]) -> list[str]:
    """The modules that such symbols name: of ``"nfs:nfs_getattr"``, ``"nfs"``."""
    named = (symbol.partition(":") for symbol in symbols if symbol)
    return sorted({module for module, colon, _ in named if colon})
