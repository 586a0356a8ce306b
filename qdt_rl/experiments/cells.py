"""One cell of an experiment: a pure function from what is to be run to a record of what came out."""

import json
import traceback
import warnings
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any

import numpy as np
import torch

from qdt_rl.data.minari_reader import load_dataset
from qdt_rl.errors import DivergenceError, TargetReturnWarning
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.experiments.controls import make_agent_or_control
from qdt_rl.experiments.provenance import provenance
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.training import Update

_TRACE_INTERVAL = 10


@dataclass(frozen=True)
class Cell:
    """What is to be run: an agent, its data, its seed, and how it is judged.

    Attributes:
        experiment: The experiment's name.
        variant: The agent's name, one of ``AGENTS`` or ``CONTROLS``.
        dataset: A Minari dataset's id.
        seed: Of the agent.
        n_steps: Updates.
        settings: Of the agent's constructor, name and value pairs.
        n_episodes: For each evaluation; episode j begins with seed j whichever the agent, so that differences
            between agents are paired.
        evaluate_at: Numbers of updates at which the agent is evaluated; the last is ``n_steps``.
        sliding_window: Whether to evaluate with the original sliding window too, at the end.
        expert_target: Whether to ask for the expert's return too, at the end, besides the best in the data.
        n_data_episodes: Train on the dataset's first episodes only, so many of them; 0: on all.
    """

    experiment: str
    variant: str
    dataset: str
    seed: int
    n_steps: int
    settings: tuple[tuple[str, Any], ...] = ()
    n_episodes: int = 64
    evaluate_at: tuple[int, ...] = ()
    sliding_window: bool = False
    expert_target: bool = False
    n_data_episodes: int = 0

    def key(self) -> str:
        """Return what tells this cell from every other."""
        return json.dumps(asdict(self), sort_keys=True)


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train and evaluate the agent of a cell on one thread.

    Returns:
        A record that JSON can hold. ``failed`` holds the error of a cell that did not finish. Seconds are the
        process's own, so that what else the machine does does not count.
    """
    torch.set_num_threads(1)
    record: dict[str, Any] = {**asdict(cell), "key": cell.key(), **provenance(), "failed": None}
    try:
        record |= _train_and_evaluate(cell)
    except Exception:  # whatever went wrong is the cell's record
        record["failed"] = traceback.format_exc()
    return record


def _train_and_evaluate(cell: Cell) -> dict[str, Any]:
    agent = make_agent_or_control(cell.variant, seed=cell.seed, **dict(cell.settings))
    dataset = load_dataset(cell.dataset)
    if cell.n_data_episodes:
        dataset = dataset.filter_episodes(lambda episode: episode.id < cell.n_data_episodes)
    updates: list[Update] = []
    evaluations, train_seconds, done, diverged = [], 0.0, 0, None

    def keep(locals_: dict[str, Any], _: dict[str, Any]) -> bool:
        updates.append(locals_["update"])
        return True

    for n_steps in sorted({*cell.evaluate_at, cell.n_steps}):
        start = process_time()
        try:
            agent.fit(dataset, n_steps - done, callback=keep)
        except DivergenceError as error:  # a result like any other: the weights before it are judged
            diverged = str(error)
        train_seconds += process_time() - start
        done = n_steps
        evaluations.append(_evaluate(agent, agent.best_return, cell.n_episodes))
        if diverged:
            break
    if cell.expert_target and agent.reference_scores is not None:
        evaluations.append(_evaluate(agent, agent.reference_scores[1], cell.n_episodes))
    if cell.sliding_window and isinstance(agent, QDTPolicy):
        agent.sliding_window = True
        evaluations.append(_evaluate(agent, agent.best_return, cell.n_episodes))
    kept = updates[::_TRACE_INTERVAL]
    return {
        "n_parameters": sum(parameter.numel() for parameter in agent.model.parameters()),
        "train_seconds": train_seconds,
        "trace_interval": _TRACE_INTERVAL,
        "loss": [float(np.float32(update.loss)) for update in kept],
        "gradient_norm": [float(np.float32(update.gradient_norm)) for update in kept],
        "diverged": diverged,
        "reference_scores": agent.reference_scores,
        "evaluations": evaluations,
    }


def _evaluate(agent: OfflinePolicy, target_return: float | None, n_episodes: int) -> dict[str, Any]:
    if agent.env_id is None or target_return is None:
        raise ValueError("the dataset names no environment to evaluate in")
    start = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TargetReturnWarning)  # the expert's return is asked for on purpose
        result = evaluate(agent, agent.env_id, target_return, n_episodes)
    return {
        "n_updates": agent.num_timesteps,
        "sliding_window": getattr(agent, "sliding_window", False),
        "target_return": target_return,
        "returns": result.returns.tolist(),
        "seconds": process_time() - start,
    }
