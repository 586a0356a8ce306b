"""What a sceptic asks of a conclusion: does it stand when it is looked at in another way?"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float64

from qdt_rl.evaluation.statistics import Statistic, bootstrap_interval, crossed_interval, student_interval
from qdt_rl.experiments.markdown import markdown_table
from qdt_rl.experiments.reports.outcomes import Array
from qdt_rl.experiments.reports.tasks import Task

Conclusion = Literal["+", "−", "open"]
_OTHER_INTERVALS = ("Student's t", "episodes drawn too")
FALSE_POSITIVES = {2: 0.5, 3: 0.25, 4: 0.21, 5: 0.16, 10: 0.1}
"""How often a 95 % percentile bootstrap of the mean of n normal values excludes the truth, by n."""


def conclude(differences: Array, statistic: Statistic = "mean") -> Conclusion:
    """Return the sign of a difference whose 95 % bootstrap interval over seeds excludes zero, or "open"."""
    return _sign(*bootstrap_interval(differences, statistic))


def conclude_by_t(differences: Array) -> Conclusion:
    """Return the same by Student's interval, which is wider where seeds are few."""
    return _sign(*student_interval(differences))


def conclude_crossed(differences: Float64[np.ndarray, "seeds episodes"]) -> Conclusion:
    """Return the same by an interval over seeds and episodes: all agents meet the same 64 of these."""
    return _sign(*crossed_interval(differences))


def leave_one_out(differences: Array) -> list[Conclusion]:
    """Return the conclusion without the first seed, without the second, and so on."""
    if len(differences) < 2:
        return []
    return [conclude(np.delete(differences, i)) for i in range(len(differences))]


def sceptic_table(task: Task) -> str:
    """Return a table of a task's conclusions, and of what becomes of each when it is looked at otherwise."""
    other = [moment for moment in task.moments if moment != task.last]
    heads = [
        "expert's target" if moment.target == "expert" else f"{moment.n_updates:,} updates"
        for moment in other
    ]
    rows = []
    for name, contrast in task.contrasts.items():
        episodes = task.contrast(contrast)
        differences = episodes.mean(axis=1)
        conclusion = conclude(differences)
        views = [conclude(differences, "iqm"), conclude_by_t(differences), conclude_crossed(episodes)]
        views += [conclude(task.contrast(contrast, moment).mean(axis=1)) for moment in other]
        marked = [_marked(view, conclusion) for view in views]
        rows.append([name, conclusion, _left_out(leave_one_out(differences), conclusion), *marked])
    header = ["the sceptic", "conclusion", "without one seed", "IQM", *_OTHER_INTERVALS, *heads]
    return markdown_table(header, rows)


def expected_by_chance(all_tasks: Sequence[Task]) -> str:
    """Return a sentence that says how many conclusions there are, and how to read the sceptic's tables."""
    found = [task.contrast(contrast) for task in all_tasks for contrast in task.contrasts.values()]
    conclusions = [conclude(episodes.mean(axis=1)) for episodes in found if len(episodes) > 1]
    drawn = sum(conclusion != "open" for conclusion in conclusions)
    return (
        "In the sceptic's tables `+` and `−` are the sign of a difference whose 95 % interval excludes zero, "
        '"open" one whose interval does not, or of which there is a single seed; what differs from the '
        f"conclusion is **bold**. Of {len(conclusions)} intervals at the end of training, which are not "
        f"independent, {drawn} exclude zero; the other columns are further looks, and not counted. A "
        f"bootstrap of few seeds does so too easily: of true zeros {_rates()}, instead of 5 %; Student's t "
        "keeps to 5 %.\n"
    )


def false_positives(n_seeds: int) -> str:
    """Return how often a bootstrap of so many seeds excludes the truth, in per cent."""
    return f"{100 * FALSE_POSITIVES[n_seeds]:.0f} %"


def _rates() -> str:
    return ", ".join(f"{false_positives(n)} with {n} seeds" for n in FALSE_POSITIVES)


def _left_out(conclusions: Sequence[Conclusion], conclusion: Conclusion) -> str:
    same = conclusions.count(conclusion)
    parts = [f"{same} of {len(conclusions)} the same", *_others(conclusions, conclusion)]
    return ", ".join(parts) if conclusions else "–"


def _others(conclusions: Sequence[Conclusion], conclusion: Conclusion) -> Iterator[str]:
    for other in ("+", "−", "open"):
        if other != conclusion and other in conclusions:
            yield f"**{list(conclusions).count(other)} {other}**"


def _marked(view: Conclusion, conclusion: Conclusion) -> str:
    return view if view == conclusion else f"**{view}**"


def _sign(low: float, high: float) -> Conclusion:
    return "+" if low > 0 else "−" if high < 0 else "open"
