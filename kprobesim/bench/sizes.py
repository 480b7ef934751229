"""How much work one round of each measurement is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Sizes"]


@dataclass(frozen=True)
class Sizes:
    """Work a round: calls, bytes, elements, hits, and the numbers of probes to arm."""

    calls: int = 2_000_000
    hash_bytes: int = 1 << 20
    sort_elements: int = 50_000
    copy_bytes: int = 8 << 20
    hits: int = 20_000
    program_hits: int = 400_000
    probes: tuple[int, ...] = (1, 100, 10_000)
    crowd: tuple[int, ...] = (8, 100, 10_000, 100_000)
    python_calls: int = 20_000
    boot_counted: int = 10_000
    race_runs: int = 400
    race_preemptions: int = 1
