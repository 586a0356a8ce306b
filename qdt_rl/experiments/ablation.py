"""What the ablation's records say: tables and figures, pure functions of the records."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from qdt_rl.evaluation.statistics import bootstrap_interval, interquartile_mean
from qdt_rl.experiments.cells import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Records = Sequence[Mapping[str, Any]]
Array = Float64[np.ndarray, " seeds"]


class Moment(NamedTuple):
    """When an agent is judged, and by which target: ``"data"``, the best return there, or ``"expert"``."""

    n_updates: int
    target: str = "data"


@dataclass(frozen=True)
class Task:
    """The results on one dataset, of the seeds for which every agent has been run.

    Attributes:
        name: The dataset's id, and how many of its episodes were used if not all.
        seeds: Those seeds, in order.
        n_planned: How many the grid has.
        returns: By agent and moment, the mean return of each seed.
        normalized: By agent, each seed's score at the end, 0 for random and 100 for the expert.
        seconds: By agent, the median time of training.
    """

    name: str
    seeds: list[int]
    n_planned: int
    returns: dict[str, dict[Moment, Array]]
    normalized: dict[str, Array]
    seconds: dict[str, float]

    @property
    def last(self) -> Moment:
        """The end of training, by the data's own target."""
        return max(moment for moment in next(iter(self.returns.values())) if moment.target == "data")


def tasks(cells: Sequence[Cell], records: Records) -> list[Task]:
    """Sort an experiment's records by task; seeds that lack an agent are left out.

    Args:
        cells: The grid.
        records: Of its cells; those of others are left out.
    """
    done = {record["key"]: record for record in records if not record["failed"]}
    by_task: dict[str, list[Cell]] = {}
    for cell in cells:
        by_task.setdefault(_task_name(cell), []).append(cell)
    return [_task(name, members, done) for name, members in by_task.items()]


def _task_name(cell: Cell) -> str:
    return cell.dataset + (f", {cell.n_data_episodes} episodes" if cell.n_data_episodes else "")


def _task(name: str, cells: Sequence[Cell], done: Mapping[str, Mapping[str, Any]]) -> Task:
    planned = sorted({cell.seed for cell in cells})
    seeds = [s for s in planned if all(cell.key() in done for cell in cells if cell.seed == s)]
    by_agent: dict[str, list[Mapping[str, Any]]] = {}
    for cell in sorted(cells, key=lambda cell: cell.seed):
        if cell.seed in seeds:
            by_agent.setdefault(cell.variant, []).append(done[cell.key()])
    return Task(
        name,
        seeds,
        len(planned),
        {agent: _returns(records) for agent, records in by_agent.items()},
        {agent: _normalized(records) for agent, records in by_agent.items()},
        {
            agent: float(np.median([record["train_seconds"] for record in records]))
            for agent, records in by_agent.items()
        },
    )


def _returns(records: Sequence[Mapping[str, Any]]) -> dict[Moment, Array]:
    by_moment: dict[Moment, list[float]] = {}
    for record in records:
        best = record["evaluations"][0]["target_return"]
        for evaluation in record["evaluations"]:
            target = "data" if evaluation["target_return"] == best else "expert"
            moment = Moment(evaluation["n_updates"], target)
            by_moment.setdefault(moment, []).append(float(np.mean(evaluation["returns"])))
    return {moment: np.array(means) for moment, means in by_moment.items()}


def _normalized(records: Sequence[Mapping[str, Any]]) -> Array:
    final = [max(r["evaluations"], key=_by_data_then_updates(r)) for r in records]
    low, high = np.array([record["reference_scores"] for record in records]).T
    scores: Array = 100 * (np.array([np.mean(e["returns"]) for e in final]) - low) / (high - low)
    return scores


def _by_data_then_updates(record: Mapping[str, Any]) -> Any:
    best = record["evaluations"][0]["target_return"]
    return lambda evaluation: (evaluation["target_return"] == best, evaluation["n_updates"])


def ablation_report(cells: Sequence[Cell], records: Records) -> str:
    """Return Markdown: what is missing, and for each task returns, differences from ``dt``, and synergy."""
    return "\n".join(line for task in tasks(cells, records) for line in _task_lines(task)) + "\n"


def _task_lines(task: Task) -> Iterator[str]:
    yield f"### {task.name}"
    yield ""
    if len(task.seeds) < task.n_planned:
        yield f"**{len(task.seeds)} of {task.n_planned} seeds have been run.**"
        yield ""
    if not task.seeds:
        return
    moments = sorted(next(iter(task.returns.values())))
    heads = [f"{m.n_updates:,} updates" + (", expert's target" * (m.target == "expert")) for m in moments]
    yield f"| agent | {' | '.join(heads)} | normalised | training time |"
    yield "| --- |" + " ---: |" * (len(moments) + 2)
    for agent, returns in task.returns.items():
        cells = [mean_and_interval(returns[moment]) if moment in returns else "–" for moment in moments]
        ratio = task.seconds[agent] / task.seconds.get("dt", float("nan"))
        yield f"| `{agent}` | {' | '.join(cells)} | {task.normalized[agent].mean():.1f} | {ratio:.2f} × |"
    yield ""
    yield "| at the end, asked for the data's best | difference | probability of improvement |"
    yield "| --- | ---: | ---: |"
    final = {agent: returns[task.last] for agent, returns in task.returns.items()}
    for agent, baseline in (
        ("qdt", "dt"),
        ("q-attention", "dt"),
        ("q-feedforward", "dt"),
        ("qdt", "wide-dt"),
    ):
        if agent in final and baseline in final:
            difference = mean_and_interval(final[agent] - final[baseline], signed=True)
            improvement = probability_of_improvement(final[agent], final[baseline])
            yield f"| `{agent}` − `{baseline}` | {difference} | {improvement:.2f} |"
    if {"qdt", "q-attention", "q-feedforward", "dt"} <= set(final):
        yield f"| synergy | {mean_and_interval(synergy(final), signed=True)} | – |"
    yield ""


def synergy(returns: Mapping[str, Array]) -> Array:
    """Return the two-by-two interaction of each seed: (QDT − Q-attention) − (Q-feedforward − DT)."""
    interaction: Array = (returns["qdt"] - returns["q-attention"]) - (
        returns["q-feedforward"] - returns["dt"]
    )
    return interaction


def probability_of_improvement(first: Array, second: Array) -> float:
    """Return how often a run of the first beats one of the second, ties half (rliable, arXiv 2108.13264)."""
    pairs = first[:, None] - second
    return float(np.mean((pairs > 0) + 0.5 * (pairs == 0)))


def performance_profile(scores: Array, thresholds: Float64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Return the share of runs whose score exceeds each threshold (rliable)."""
    shares: Float64[np.ndarray, " n"] = (scores > thresholds[:, None]).mean(axis=1)
    return shares


def mean_and_interval(values: Array, signed: bool = False) -> str:
    """Return the mean and its 95 % bootstrap interval over seeds."""
    low, high = bootstrap_interval(values)
    sign = "+" if signed else ""
    interval = "" if np.isnan(low) else f" ({low:{sign}.0f} to {high:{sign}.0f})"
    return f"{values.mean():{sign}.0f}{interval}"


def draw_learning_curves(axes: "Axes", task: Task) -> None:
    """Draw the return by updates, a line an agent through its mean and a point a seed."""
    for agent, returns in task.returns.items():
        moments = sorted(moment for moment in returns if moment.target == "data")
        updates = [moment.n_updates for moment in moments]
        (line,) = axes.plot(updates, [returns[moment].mean() for moment in moments], label=agent)
        for moment in moments:
            points = returns[moment]
            axes.scatter([moment.n_updates] * len(points), points, s=10, color=line.get_color(), alpha=0.5)
    axes.set_xscale("log")
    axes.set_xlabel("updates")
    axes.set_ylabel("return")
    axes.set_title(task.name, fontsize=9)
    axes.legend(frameon=False, fontsize=7)


def draw_profiles(axes: "Axes", task: Task) -> None:
    """Draw each agent's performance profile over seeds, with the interquartile mean in the legend."""
    scores = task.normalized
    everything = np.concatenate(list(scores.values()))
    thresholds = np.linspace(everything.min() - 5, everything.max() + 5, 400)
    for agent, values in scores.items():
        label = f"{agent} ({interquartile_mean(values):.1f})"
        axes.step(thresholds, performance_profile(values, thresholds), where="post", label=label)
    axes.set_xlabel("normalised score τ (0 random, 100 expert)")
    axes.set_ylabel("share of seeds above τ")
    axes.set_title(task.name, fontsize=9)
    axes.legend(frameon=False, fontsize=7, title="agent (IQM)", title_fontsize=7)
