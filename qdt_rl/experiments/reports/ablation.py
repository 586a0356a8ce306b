"""What the ablation's records say: returns, differences, synergy, and what is achieved of what is asked."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from qdt_rl.evaluation.statistics import (
    improvement_interval,
    probability_of_improvement,
    student_interval,
    widest_interval,
)
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ONLINE
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.claims import claims_text
from qdt_rl.experiments.reports.mechanism import inside
from qdt_rl.experiments.reports.online import bounds, online_rows
from qdt_rl.experiments.reports.outcomes import LATE_LOSS, Array, Group, Moment, Outcomes, learning_curve
from qdt_rl.experiments.reports.page import (
    Page,
    Panel,
    iqm_and_interval,
    mean_and_interval,
    times,
    with_interval,
)
from qdt_rl.experiments.reports.panels import Curves, Profiles
from qdt_rl.experiments.reports.sceptic import expected_by_chance, sceptic_table
from qdt_rl.experiments.reports.tasks import CONTRASTS, Contrast, Task, Values, difference, tasks
from qdt_rl.model.variants import VARIANTS

_OF_LOSSES = {
    **CONTRASTS,
    **difference("wide-dt", "dt"),
    **difference("q-feedforward", "wide-dt"),
    **difference("qdt", "q-feedforward"),
}
_OPTIMISATION = """\
Means of what every tenth of the last 500 updates recorded, in thousandths, with Student's 95 % intervals. Of
a loss, less is better: above zero, an interaction speaks against synergy. Seeds of which all agents of a line
ran whole and at one precision.
"""
_ALL_TASKS = """\
In points, at the end of training, asked for the best return in the data, by the interval of the claims; after
the semicolon how many seeds.
"""
_BY = "by the interval of the claims"
_SPREAD = "standard deviation over seeds, units of return"
_TIME = "training time over `dt`'s, median (pairs)"
_IMPROVEMENT = "probability of improvement, seeds not paired"


def ablation_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return the claims, what is found on each task, and what goes on inside the models of the first."""
    all_tasks = tasks(cells, outcomes)
    shown = [task for task in all_tasks if task.agents]
    within = _within(all_tasks[0]) if all_tasks[0].agents else Page("")
    text = "\n".join(
        [
            claims_text(all_tasks),
            _overview(shown),
            *(part for task in all_tasks for part in _parts(task)),
            expected_by_chance(shown),
            within.text,
        ]
    )
    return Page(text, {**_figures(shown), **within.figures} if shown else {})


def _overview(shown: Sequence[Task]) -> str:
    """Return what is compared on each task, at the end of training."""
    if not shown:
        return ""
    rows = []
    for task in shown:
        found = {name: task.points(contrast) for name, contrast in task.contrasts.items()}
        cells = (_counted(found[name]) if name in found else "–" for name in CONTRASTS)
        rows.append([task.name, f"{task.targets['data']:,.0f}", *cells])
    return f"### All tasks\n\n{_ALL_TASKS}\n{markdown_table(['data', 'asked for', *CONTRASTS], rows)}"


def _counted(points: Values) -> str:
    return f"{with_interval(points.mean(), widest_interval(points), '+.1f')}; {len(points)}"


def _within(task: Task) -> Page:
    """Return how the transformers of a task were optimised, and what was measured inside them."""
    models = {agent: group for agent, group in task.agents.items() if agent in VARIANTS}
    page = inside(models, task.outcomes)
    title = f"### What goes on inside: {task.name}\n"
    return Page("\n".join([title, _optimisation(models, task.outcomes), page.text]), page.figures)


def _optimisation(models: Mapping[str, Group], outcomes: Outcomes) -> str:
    """Return contrasts of training losses and of gradient norms, which need no environment."""
    rows = []
    for name, contrast in _OF_LOSSES.items():
        if not contrast.keys() <= models.keys():
            continue
        seeds = outcomes.whole(*(models[agent] for agent in contrast))
        found = [
            sum(sign * outcomes.late(models[agent], seeds, trace) for agent, sign in contrast.items())
            for trace in ("loss", "gradient_norm")
        ]
        shown = (mean_and_interval(1000 * np.asarray(d), True, 2, student_interval) for d in found)
        rows.append([name, str(len(seeds)), *shown])
    header = ["difference", "seeds", "training loss", "gradient norm"]
    return f"{_OPTIMISATION}\n{markdown_table(header, rows)}"


def _parts(task: Task) -> Iterator[str]:
    yield f"### {task.name}\n"
    yield task.outcomes.shortfall(task.cells)
    if not task.agents:
        return
    if not_run := task.groups.keys() - task.agents.keys():
        yield f"Not run on this task yet: {', '.join(f'`{agent}`' for agent in sorted(not_run))}.\n"
    yield _returns(task)
    yield _training(task)
    if task.contrasts:
        yield _differences(task)
        yield _over_training(task)
    if "expert" in task.targets:
        yield _requested(task)
    if task.contrasts:
        yield sceptic_table(task)


def _returns(task: Task) -> str:
    rows = []
    for agent, group in task.agents.items():
        seeds = task.seeds(agent)
        scores = task.outcomes.scores(group, seeds)
        row = [
            f"`{agent}`",
            f"{len(seeds)} of {len(group)}",
            *(mean_and_interval(task.outcomes.returns(group, seeds, moment)) for moment in task.moments),
            f"{scores.mean():.1f}",
            iqm_and_interval(scores, digits=1),
            f"{task.outcomes.returns(group, seeds).std(ddof=1):.0f}" if len(seeds) > 1 else "–",
        ]
        rows.append(row)
    last, n_moments = task.moments.index(task.last), len(task.moments)
    for name, seeds_run, mean, score in [*online_rows(ONLINE, task), *bounds(task.references)]:
        row = ["–"] * n_moments
        row[last] = mean
        rows.append([name, seeds_run, *row, score, "–", "–"])
    heads = [_head(moment) for moment in task.moments]
    return markdown_table(["agent", "seeds", *heads, "score", "score, IQM", _SPREAD], rows)


def _training(task: Task) -> str:
    """Return how training went: the loss at its end, how often gradients were clipped, and its time."""
    rows = []
    for agent, group in task.agents.items():
        seeds = task.seeds(agent)
        loss = mean_and_interval(1000 * task.outcomes.late(group, seeds, "loss"), digits=2)
        clipped = f"{task.outcomes.clipped(group, seeds):.0f} %"
        ratios = times(task.outcomes.time_ratios(group, task.groups.get("dt", {})))
        rows.append([f"`{agent}`", str(len(seeds)), loss, clipped, ratios])
    return markdown_table(["agent", "seeds", LATE_LOSS, "updates clipped", _TIME], rows)


def _head(moment: Moment) -> str:
    return f"{moment.n_updates:,} updates" + (", expert's target" * (moment.target == "expert"))


def _differences(task: Task) -> str:
    """Return the contrasts at the end, in units of the return and, by the seed, in points of the score."""
    rows = []
    for name, contrast in task.contrasts.items():
        seeds = task.seeds(*contrast)
        episodes, points = task.contrast(contrast), task.points(contrast).mean(axis=1)
        rows.append(
            [
                name,
                f"{len(seeds)} of {task.n_planned(*contrast)}",
                with_interval(episodes.mean(), widest_interval(episodes), "+.0f"),
                _improvement(task, contrast, seeds),
                ", ".join(f"{p:+.1f}" for p in points),
            ]
        )
    header = [
        "at the end, asked for the data's best",
        "seeds",
        f"difference, units of return, {_BY}",
        _IMPROVEMENT,
        "points by seed",
    ]
    return markdown_table(header, rows)


def _improvement(task: Task, contrast: Contrast, seeds: Sequence[int]) -> str:
    """Return the probability of improvement, if it is one of two agents and more than a single pair."""
    if len(contrast) > 2 or len(seeds) < 2:
        return "–"
    first, second = (task.outcomes.returns(task.groups[agent], seeds) for agent in contrast)
    return with_interval(
        probability_of_improvement(first, second), improvement_interval(first, second), ".2f"
    )


def _over_training(task: Task) -> str:
    """Return the contrasts at all moments."""
    rows = []
    for name, contrast in task.contrasts.items():
        found = [task.points(contrast, moment) for moment in task.moments]
        rows.append([name, *(with_interval(p.mean(), widest_interval(p), "+.1f") for p in found)])
    return markdown_table([f"in points, {_BY}", *map(_head, task.moments)], rows)


def _requested(task: Task) -> str:
    """Return what was achieved less what was asked for, and what a further unit that is asked for brings."""
    best, expert = task.targets["data"], task.targets["expert"]
    rows = []
    for agent, group in task.agents.items():
        seeds = task.seeds(agent)
        first = task.outcomes.returns(group, seeds, task.last)
        second = task.outcomes.returns(group, seeds, task.last._replace(target="expert"))
        follows = (second - first) / (expert - best)
        errors = (mean_and_interval(first - best, True), mean_and_interval(second - expert, True))
        rows.append([f"`{agent}`", *errors, mean_and_interval(follows, True, digits=2)])
    heads = [f"asked for {best:,.0f}", f"asked for {expert:,.0f}", "return for each unit more asked for"]
    return markdown_table(["at the end, achieved − asked for", *heads], rows)


def _figures(shown: Sequence[Task]) -> Mapping[str, Sequence[Panel]]:
    return {
        "curves": [_learning_curves(task) for task in shown],
        "profiles": [_profiles(task) for task in shown],
        "requested": [_achieved(task) for task in shown if "expert" in task.targets],
    }


def _learning_curves(task: Task) -> Curves:
    lines = {agent: learning_curve(group, task.outcomes) for agent, group in task.agents.items()}
    return Curves(task.name, "updates", "return", lines, log_x=True)


def _profiles(task: Task) -> Profiles:
    scores = {agent: task.outcomes.scores(group, task.seeds(agent)) for agent, group in task.agents.items()}
    return Profiles(task.name, scores)


def _achieved(task: Task) -> Curves:
    lines: dict[str, dict[float, Array]] = {}
    for agent, group in task.agents.items():
        by_target = {
            asked: task.outcomes.returns(group, task.seeds(agent), task.last._replace(target=name))
            for name, asked in task.targets.items()
        }
        lines[agent] = dict(sorted(by_target.items()))
    return Curves(task.name, "asked for", "achieved return", lines, identity=True)
