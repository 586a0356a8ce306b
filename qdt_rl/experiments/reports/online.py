"""Agents that learn in the environment, beside random actions, the expert and what no return can exceed."""

from collections.abc import Iterator, Sequence

import numpy as np

from qdt_rl.evaluation.result import normalized_scores
from qdt_rl.experiments.cells import ONLINE_AGENTS, Cell
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Group, Outcomes, by_seed, in_ablation, task_name
from qdt_rl.experiments.reports.page import Page, mean_and_interval
from qdt_rl.experiments.reports.panels import Rows
from qdt_rl.experiments.reports.tasks import Task

BOUND = 4000.0
"""No return of the synthetic environments can exceed it: at most 4 a step, 1,000 steps."""

Beside = tuple[str, str, str, str]
"""A name, how many seeds, a return, and a normalised score."""

_OFFLINE = ("dt", "qdt", "bc-10%")


def online_rows(online: Sequence[Cell], task: Task) -> Iterator[Beside]:
    """Yield a row for each online agent whose cells name the data of a task."""
    same = [cell for cell in online if task_name(cell) == task.name]
    for name, group in by_seed(same, lambda cell: cell.variant).items():
        seeds = task.outcomes.finished(group)
        mean, score, _ = _measures(group, seeds, task.outcomes)
        steps = next(iter(group.values())).n_steps
        yield f"`{name}`, online, {steps:,} steps", f"{len(seeds)} of {len(group)}", mean, score


def bounds(references: tuple[float, float]) -> Iterator[Beside]:
    """Yield the rows of random actions, of the expert, and of the bound."""
    names, returns = ("random actions", "expert", "bound"), np.array([*references, BOUND])
    for name, value, score in zip(names, returns, normalized_scores(returns, references), strict=True):
        yield name, "–", f"{value:.0f}", f"{score:.1f}"


def online_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return the online agents' returns, beside those of offline agents: each row has its own seeds."""
    groups: dict[str, Group] = dict(by_seed(cells, lambda cell: cell.variant))
    groups |= {agent: in_ablation(next(iter(groups.values())), agent) for agent in _OFFLINE}
    rows, returns = [], {}
    for agent, group in groups.items():
        seeds = outcomes.finished(group)
        if seeds:
            returns[agent] = outcomes.returns(group, seeds)
        steps = next(iter(group.values())).n_steps
        row = [f"`{agent}`", f"{steps:,} " + ("steps" if agent in ONLINE_AGENTS else "updates")]
        rows.append([*row, f"{len(seeds)} of {len(group)}", *_measures(group, seeds, outcomes)])
    references = outcomes.references(groups.values())
    rows += [[name, "–", seeds, mean, score, "–"] for name, seeds, mean, score in bounds(references)]
    text = outcomes.shortfall(cell for group in groups.values() for cell in group.values())
    text += "\n" + markdown_table(["agent", "trained", "seeds", "return", "normalised", "minutes"], rows)
    levels = {"random actions": references[0], "expert": references[1]}
    panel = Rows(cells[0].dataset, "return", returns, levels)
    text += "\nThe bound: 4 a step, 1,000 steps. PPO ends a round of 2,048 steps that it has begun.\n"
    return Page(text, {"returns": [panel]} if returns else {})


def _measures(group: Group, seeds: Sequence[int], outcomes: Outcomes) -> list[str]:
    if not seeds:
        return ["–", "–", "–"]
    scores = outcomes.scores(group, seeds)
    minutes = _minutes(group, seeds, outcomes)
    return [mean_and_interval(outcomes.returns(group, seeds)), f"{scores.mean():.1f}", minutes]


def _minutes(group: Group, seeds: Sequence[int], outcomes: Outcomes) -> str:
    """Return the median time of training on each kind of processor."""
    by_processor: dict[str, list[int]] = {}
    for seed in seeds:
        by_processor.setdefault(outcomes.record(group[seed])["processor"], []).append(seed)
    medians = {name: np.median(outcomes.seconds(group, some)) / 60 for name, some in by_processor.items()}
    return "; ".join(f"{minutes:.1f} ({name})" for name, minutes in medians.items())
