"""What the ablation's records say: returns, differences, synergy, and what is achieved of what is asked."""

from collections.abc import Iterator, Mapping, Sequence

from qdt_rl.evaluation.statistics import student_interval
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.grids import ONLINE
from qdt_rl.experiments.reports.claims import claims_text
from qdt_rl.experiments.reports.mechanism import inside
from qdt_rl.experiments.reports.online import bounds, online_rows
from qdt_rl.experiments.reports.outcomes import Array, Group, Outcomes, by_seed
from qdt_rl.experiments.reports.page import (
    Page,
    Panel,
    iqm_and_interval,
    mean_and_interval,
    table,
    times,
    with_interval,
)
from qdt_rl.experiments.reports.panels import Curves, Profiles
from qdt_rl.experiments.reports.sceptic import expected_by_chance, sceptic_table
from qdt_rl.experiments.reports.tasks import PAIRS, Task, contrasts, improvements, tasks
from qdt_rl.model.variants import VARIANTS

_LOSSES = (*PAIRS, ("wide-dt", "dt"), ("q-feedforward", "wide-dt"), ("qdt", "q-feedforward"))
_OPTIMISATION = """\
Means of what every tenth of the last 500 updates recorded, in thousandths, with Student's 95 % intervals. Of
a loss, less is better: above zero, an interaction speaks against synergy.
"""


def ablation_page(cells: Sequence[Cell], outcomes: Outcomes) -> Page:
    """Return the claims, what is found on each task, and what goes on inside the models of the first."""
    all_tasks = tasks(cells, outcomes)
    shown = [task for task in all_tasks if task.seeds]
    within = _within(all_tasks[0], outcomes)
    text = "\n".join(
        [
            claims_text(cells, outcomes),
            *(part for task in all_tasks for part in _parts(task, outcomes)),
            expected_by_chance(shown),
            within.text,
        ]
    )
    return Page(text, {**_figures(shown), **within.figures} if shown else {})


def _within(task: Task, outcomes: Outcomes) -> Page:
    """Return how the transformers of a task were optimised, and what was measured inside them."""
    if not task.seeds:
        return Page("")
    groups = by_seed(task.cells, lambda cell: cell.variant)
    models = {agent: group for agent, group in groups.items() if agent in VARIANTS}
    page = inside(models, outcomes)
    parts = [
        f"### What goes on inside: {task.name}\n",
        _optimisation(models, outcomes),
        page.text,
    ]
    return Page("\n".join(parts), page.figures)


def _optimisation(groups: Mapping[str, Group], outcomes: Outcomes) -> str:
    """Return differences of training losses and of gradient norms, which need no environment."""
    seeds = outcomes.whole(*groups.values())
    late = [
        contrasts(
            {agent: 1000 * outcomes.late(group, seeds, name) for agent, group in groups.items()}, _LOSSES
        )
        for name in ("loss", "gradient_norm")
    ]
    rows = [
        [pair, *(mean_and_interval(found[pair], True, 2, student_interval) for found in late)]
        for pair in late[0]
    ]
    header = ["difference", "training loss", "gradient norm"]
    return f"{_OPTIMISATION}\n{table(header, rows)}"


def _parts(task: Task, outcomes: Outcomes) -> Iterator[str]:
    yield f"### {task.name}\n"
    if len(task.seeds) < task.n_planned:
        yield f"**{len(task.seeds)} of {task.n_planned} seeds have been run.**\n"
    yield outcomes.shortfall(task.cells)
    if not task.seeds:
        return
    if not_run := {cell.variant: None for cell in task.cells if cell.variant not in task.returns}:
        yield f"Not run on this task yet: {', '.join(f'`{agent}`' for agent in not_run)}.\n"
    yield _returns(task, outcomes)
    yield _differences(task)
    if "expert" in task.targets:
        yield _requested(task)
    yield sceptic_table(task)


def _returns(task: Task, outcomes: Outcomes) -> str:
    heads = [
        f"{m.n_updates:,} updates" + (", expert's target" * (m.target == "expert")) for m in task.moments
    ]
    rows = [
        [
            f"`{agent}`",
            *(mean_and_interval(returns[moment]) for moment in task.moments),
            f"{task.normalized[agent].mean():.1f}",
            iqm_and_interval(task.normalized[agent], digits=1),
            times(task.time_ratios[agent]),
        ]
        for agent, returns in task.returns.items()
    ]
    last, n_moments = task.moments.index(task.last), len(task.moments)
    for name, mean, score, time_ratio in [*online_rows(ONLINE, task, outcomes), *bounds(task.references)]:
        row = ["–"] * n_moments
        row[last] = mean
        rows.append([name, *row, score, "–", times(time_ratio)])
    return table(["agent", *heads, "score", "score, IQM", "training time"], rows)


def _differences(task: Task) -> str:
    final = task.at(task.last)
    improved = {pair: with_interval(*found, ".2f") for pair, found in improvements(final).items()}
    rows = [
        [name, mean_and_interval(difference, signed=True), improved.get(name, "–")]
        for name, difference in contrasts(final).items()
    ]
    return table(
        [
            "at the end, asked for the data's best",
            "difference",
            "probability of improvement, seeds not paired",
        ],
        rows,
    )


def _requested(task: Task) -> str:
    """Return what was achieved less what was asked for, and what a further unit that is asked for brings."""
    best, expert = task.targets["data"], task.targets["expert"]
    rows = []
    for agent, returns in task.returns.items():
        first, second = returns[task.last], returns[task.last._replace(target="expert")]
        follows = (second - first) / (expert - best)
        errors = (mean_and_interval(first - best, True), mean_and_interval(second - expert, True))
        rows.append([f"`{agent}`", *errors, mean_and_interval(follows, True, digits=2)])
    heads = [f"asked for {best:,.0f}", f"asked for {expert:,.0f}", "return for each unit more asked for"]
    return table(["at the end, achieved − asked for", *heads], rows)


def _figures(shown: Sequence[Task]) -> Mapping[str, Sequence[Panel]]:
    return {
        "curves": [_learning_curves(task) for task in shown],
        "profiles": [Profiles(task.name, task.normalized) for task in shown],
        "requested": [_achieved(task) for task in shown if "expert" in task.targets],
    }


def _learning_curves(task: Task) -> Curves:
    lines: dict[str, dict[float, Array]] = {
        agent: {moment.n_updates: values for moment, values in returns.items() if moment.target == "data"}
        for agent, returns in task.returns.items()
    }
    return Curves(task.name, "updates", "return", lines, log_x=True)


def _achieved(task: Task) -> Curves:
    lines = {
        agent: {task.targets[name]: returns[task.last._replace(target=name)] for name in ("data", "expert")}
        for agent, returns in task.returns.items()
    }
    lines = {agent: dict(sorted(line.items())) for agent, line in lines.items()}
    return Curves(task.name, "asked for", "achieved return", lines, identity=True)
