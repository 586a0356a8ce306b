"""What came of runs: records looked up by cell, and the numbers that are in them."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float64

from qdt_rl.config import TrainConfig
from qdt_rl.errors import RecordError
from qdt_rl.evaluation.result import normalized_scores
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ablation_cell
from qdt_rl.model.variants import VARIANTS

Records = Sequence[Mapping[str, Any]]
Array = Float64[np.ndarray, " seeds"]
Group = Mapping[int, Cell]
"""One cell for each seed, that differ in nothing else."""

Target = Literal["data", "expert"]
"""What is asked for: the best return in the data, or the expert's."""
K = TypeVar("K", bound=Hashable)
_LATE = 500
LATE_LOSS = f"training loss of the last {_LATE} updates, thousandths"
"""What a column of ``Outcomes.late`` losses is called."""
_PER_POINT = 10  # entries of a trace in one mean: 100 updates


class Moment(NamedTuple):
    """When an agent is judged, and how.

    Attributes:
        n_updates: After how many updates.
        target: What is asked for: ``"data"``, the best return there, or ``"expert"``.
        sliding_window: Whether the original sliding window is meant where the agent acts otherwise by itself.
    """

    n_updates: int
    target: Target = "data"
    sliding_window: bool = False


class Outcomes:
    """The records of one or several experiments.

    Seeds that lack a run which a comparison needs are left out of it by ``finished``; ``shortfall`` tells of
    them. A run that diverged is judged, from then on, by the weights before it did.

    Args:
        records: One for each cell.
    """

    def __init__(self, records: Records) -> None:
        self._by_key = {record["key"]: record for record in records}

    def state(self, cell: Cell) -> Literal["missing", "failed", "diverged", "done"]:
        """Return what became of a cell."""
        record = self._by_key.get(cell.key())
        if record is None:
            return "missing"
        if record["failed"]:
            return "failed"
        return "diverged" if record.get("diverged") else "done"

    def record(self, cell: Cell) -> Mapping[str, Any]:
        """Return a cell's record."""
        return self._by_key[cell.key()]

    def finished(self, *groups: Group) -> list[int]:
        """Return the seeds of which every group has a run, in order."""
        shared = set.intersection(
            *({seed for seed in group if self._is_run(group[seed])} for group in groups)
        )
        return sorted(shared)

    def alike(self, *groups: Group, names: Sequence[str] = ("processor", "precision", "commit")) -> list[int]:
        """Return the seeds of which every group has a run, whose records all say the same of some names."""
        runs = {seed: [self.record(group[seed]) for group in groups] for seed in self.finished(*groups)}
        return [
            seed
            for seed, records in runs.items()
            if len({tuple(record.get(name) for name in names) for record in records}) == 1
        ]

    def whole(self, *groups: Group, names: Sequence[str] = ("precision",)) -> list[int]:
        """Return the seeds that are ``alike``, in precision unless stated, and of which no run diverged."""
        seeds = self.alike(*groups, names=names)
        return [seed for seed in seeds if all(self.state(group[seed]) == "done" for group in groups)]

    def shared(self, *groups: Group) -> list[int]:
        """Return the seeds of which every group that has been run at all has a run."""
        run = [group for group in groups if self.finished(group)]
        return self.finished(*run) if run else []

    def shared_seeds(self, groups: Mapping[K, Group]) -> dict[K, list[int]]:
        """Return the seeds that are ``shared``, for each group; none for one that has not been run."""
        seeds = self.shared(*groups.values())
        return {key: seeds if self.finished(group) else [] for key, group in groups.items()}

    def returns(self, group: Group, seeds: Iterable[int], moment: Moment | None = None) -> Array:
        """Return the mean return of each seed; at the end, asked for the data's best, unless stated."""
        return np.array([np.mean(self._episodes(group[seed], moment)) for seed in seeds])

    def gaps(self, first: Group, second: Group, seeds: Sequence[int], moment: Moment | None = None) -> Array:
        """Return the first group's returns less the second's, as ``returns``."""
        gaps: Array = self.returns(first, seeds, moment) - self.returns(second, seeds, moment)
        return gaps

    def episodes(
        self, group: Group, seeds: Iterable[int], moment: Moment | None = None
    ) -> Float64[np.ndarray, "seeds episodes"]:
        """Return the returns of ``returns`` before they are averaged: episode j is the same in all runs."""
        return np.array([self._episodes(group[seed], moment) for seed in seeds], dtype=float)

    def scores(self, group: Group, seeds: Sequence[int]) -> Array:
        """Return the score of each seed at the end: 0 for random actions, 100 for the expert."""
        return normalized_scores(self.returns(group, seeds), self.references([group]))

    def references(self, groups: Iterable[Group]) -> tuple[float, float]:
        """Return the returns of random actions and of the expert, which every run knows; NaN without any."""
        for group in groups:
            for seed in self.finished(group):
                low, high = self.record(group[seed])["reference_scores"]
                return low, high
        return float("nan"), float("nan")

    def seconds(self, group: Group, seeds: Iterable[int]) -> Array:
        """Return each seed's time of training."""
        return np.array([self.record(group[seed])["train_seconds"] for seed in seeds], dtype=float)

    def kept(self, group: Group, other: Group, seeds: Sequence[int]) -> Array:
        """Return each seed's score as a percentage of the other run's; none if one of those is no success."""
        before = self.scores(other, seeds)
        return 100 * self.scores(group, seeds) / before if (before > 0).all() else np.empty(0)

    def time_ratios(self, group: Group, other: Group) -> dict[int, float]:
        """Return by seed how many times as long as the other the training took.

        Only runs that did not diverge, on one processor and from one commit, are compared.
        """
        seeds = self.whole(group, other, names=("processor", "commit"))
        ratios = self.seconds(group, seeds) / self.seconds(other, seeds)
        return dict(zip(seeds, ratios.tolist(), strict=True))

    def trace(self, group: Group, seeds: Iterable[int], name: str) -> dict[float, Array]:
        """Return means over 100 updates, by the last of these, of what every tenth update has recorded.

        Args:
            group: Of cells.
            seeds: Those to look at; where one has diverged, the others go on.
            name: ``"loss"`` or ``"gradient_norm"``, before clipping.
        """
        by_update: dict[float, list[float]] = {}
        for seed in seeds:
            record = self.record(group[seed])
            values = np.array(record[name], dtype=float)
            means = values[: len(values) // _PER_POINT * _PER_POINT].reshape(-1, _PER_POINT).mean(axis=1)
            for i, mean in enumerate(means, start=1):
                by_update.setdefault(i * _PER_POINT * record["trace_interval"], []).append(mean)
        return {n_updates: np.array(means) for n_updates, means in by_update.items()}

    def late(self, group: Group, seeds: Iterable[int], name: str) -> Array:
        """Return each seed's mean of what every tenth of the last 500 updates recorded; see ``trace``."""
        lasts = [self.record(group[seed]) for seed in seeds]
        return np.array([np.mean(last[name][-_LATE // last["trace_interval"] :]) for last in lasts])

    def clipped(self, group: Group, seeds: Iterable[int]) -> float:
        """Return the percentage of the recorded updates whose gradient was longer than the default limit."""
        norms = np.concatenate([self.record(group[seed])["gradient_norm"] for seed in seeds])
        return float(100 * (norms > TrainConfig.max_grad_norm).mean())

    def shortfall(self, cells: Iterable[Cell]) -> str:
        """Return Markdown that counts the missing runs, and names what failed, diverged or does not fit."""
        distinct = {cell.key(): cell for cell in cells}.values()
        missing = sum(self.state(cell) == "missing" for cell in distinct)
        lines = [f"**{missing} of {len(distinct)} runs are missing.**\n"] if missing else []
        lines += [f"- {line}" for cell in distinct for line in self._misfortune(cell)]
        lines += [f"- {line}" for line in self._mixtures(distinct)]
        return "\n".join([*lines, ""]) if lines else ""

    def _misfortune(self, cell: Cell) -> Iterator[str]:
        state = self.state(cell)
        if state == "failed":
            last_line = self.record(cell)["failed"].strip().splitlines()[-1].replace("`", "'")
            yield f"failed: {describe(cell)}: `{last_line}`"
        if state == "diverged":
            yield f"diverged: {describe(cell)}: {self.record(cell)['diverged'].partition(':')[0]}"

    def _mixtures(self, cells: Iterable[Cell]) -> Iterator[str]:
        """Yield where transformers of a seed differ in how they were run, and runs of a task in data."""
        runs = [cell for cell in cells if self._is_run(cell)]
        models = [cell for cell in runs if cell.variant.partition("+")[0] in VARIANTS]
        for name in ("precision", "processor", "commit"):
            yield from self._differing(name, models, lambda cell: f"{task_name(cell)}, seed {cell.seed}")
        yield from self._differing("data", runs, task_name)

    def _differing(self, name: str, cells: Iterable[Cell], place: Callable[[Cell], str]) -> Iterator[str]:
        """Yield a line for each place where not all records that say something of a name say the same."""
        found: dict[str, dict[str, dict[str, None]]] = {}
        for cell in cells:
            if value := self.record(cell).get(name):
                found.setdefault(place(cell), {}).setdefault(value, {})[_agent(cell)] = None
        for where, by_value in found.items():
            if len(by_value) > 1:
                each = "; ".join(
                    f"{_short(value)}: {', '.join(agents)}" for value, agents in by_value.items()
                )
                yield f"**different {name}**: {where}: {each}"

    def _is_run(self, cell: Cell) -> bool:
        return self.state(cell) in ("diverged", "done")

    def _episodes(self, cell: Cell, moment: Moment | None) -> list[float]:
        n_updates, target, sliding_window = moment or Moment(cell.n_steps)
        evaluations = self.record(cell)["evaluations"]
        best_in_data = evaluations[0]["target_return"]
        judged = [
            evaluation
            for evaluation in evaluations
            if evaluation["n_updates"] <= n_updates
            and (evaluation["target_return"] == best_in_data) == (target == "data")
            and (evaluation["sliding_window"] or not sliding_window)
        ]
        if not judged:
            raise RecordError(f"The record of this cell has no evaluation at {moment}: {cell}")
        newest = max(judged, key=lambda evaluation: evaluation["n_updates"])  # of equals the first
        returns: list[float] = newest["returns"]
        return returns


def by_seed(cells: Iterable[Cell], key: Callable[[Cell], K]) -> dict[K, dict[int, Cell]]:
    """Sort cells into groups, in the order in which they come."""
    groups: dict[K, dict[int, Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), {})[cell.seed] = cell
    return groups


def moments_of(cell: Cell) -> list[Moment]:
    """Return when a cell is judged by the best return in its data, in order."""
    return [Moment(n_updates) for n_updates in sorted({*cell.evaluate_at, cell.n_steps})]


def learning_curve(
    group: Group, outcomes: Outcomes, seeds: Sequence[int] | None = None
) -> dict[float, Array]:
    """Return the returns by updates, asked for the data's best, of the seeds that are named or were run."""
    seeds = outcomes.finished(group) if seeds is None else seeds
    (cell, *_) = group.values()
    if not seeds:
        return {}
    return {moment.n_updates: outcomes.returns(group, seeds, moment) for moment in moments_of(cell)}


def in_ablation(group: Group, variant: str | None = None) -> dict[int, Cell]:
    """Return the ablation's runs on the data and of the seeds of a group; see ``ablation_cell``."""
    return {seed: ablation_cell(cell, variant) for seed, cell in group.items()}


def settings_of(cell: Cell) -> dict[str, Any]:
    """Return a cell's settings, the model's among them."""
    settings = dict(cell.settings)
    of_model: dict[str, Any] = settings.pop("policy_kwargs", {})
    return settings | of_model


def task_name(cell: Cell) -> str:
    """Return the dataset, and how many of its episodes are used if not all."""
    return cell.dataset + (f", {cell.n_data_episodes} episodes" if cell.n_data_episodes else "")


def describe(cell: Cell) -> str:
    """Return a cell's agent, settings, task and seed, for people to read."""
    return ", ".join([_agent(cell), task_name(cell), f"seed {cell.seed}"])


def _agent(cell: Cell) -> str:
    settings = [f"{name} = {value}" for name, value in settings_of(cell).items()]
    return " with ".join([f"`{cell.variant}`", *([", ".join(settings)] if settings else [])])


def _short(value: str) -> str:
    """Return the first twelve digits of a commit, and everything else as it is."""
    return value[:12] if len(value) >= 40 else value
