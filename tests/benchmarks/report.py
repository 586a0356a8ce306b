"""The table that a run prints, and what it was measured with."""

import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.protocol import REPOSITORY


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: What was measured.
        ours: Our figure, with its unit.
        other: What it is held against, with its unit.
        ratio: The median of the rounds' ratios, or None where there was nothing to compare with.
        larger_is_better: Whether the ratio must be at least the targets, or at most.
        at_least: The target to be met.
        aim: The target to be wished for, or None.
        unit: Of the ratio and the targets.
    """

    what: str
    ours: str
    other: str
    ratio: float | None
    larger_is_better: bool
    at_least: float
    aim: float | None
    unit: str = "×"

    @property
    def ratio_text(self) -> str:
        """The ratio with its unit."""
        return "–" if self.ratio is None else f"{self.ratio:.3g} {self.unit}"

    @property
    def verdict(self) -> str:
        """Which target the ratio meets."""
        if self.ratio is None:
            return "no peer"
        if self.aim is not None and self._meets(self.aim):
            return "aim met"
        return "met" if self._meets(self.at_least) else "missed"

    def _meets(self, target: float) -> bool:
        return self.ratio >= target if self.larger_is_better else self.ratio <= target


def table(rows: Sequence[Row]) -> str:
    """Return rows as a Markdown table."""
    lines = [
        "| what | ours | against | ratio | at least | aim | |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sign = "≥" if row.larger_is_better else "≤"
        aim = "" if row.aim is None else f"{sign} {row.aim:g} {row.unit}"
        cells = (
            row.what,
            row.ours,
            row.other or "–",
            row.ratio_text,
            f"{sign} {row.at_least:g} {row.unit}",
            aim,
        )
        lines.append(f"| {' | '.join((*cells, row.verdict))} |")
    return "\n".join(lines)


def facts_table(facts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return what shows that the sides do equal work: one column a side."""
    names = list(dict.fromkeys(name for side in facts.values() for name in side))
    lines = [f"| | {' | '.join(facts)} |", "|---" * (len(facts) + 1) + "|"]
    for name in names:
        cells = (_plain(side.get(name, "")) for side in facts.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    """Return what the run was measured on, and which commit."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(models) or None,
        "bf16": sorted({"avx512_bf16", "amx_bf16"} & set(flags)),
        "python": platform.python_version(),
        "system": platform.system(),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted changes": bool(
            _git("status", "--porcelain", "--", "qdt_rl", "envs", "tests/benchmarks")
        ),
    }


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    return done.stdout.strip()


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
    )
