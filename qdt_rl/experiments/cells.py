"""One cell of an experiment: a pure function from what is to be run to a record of what came out."""

import copy
import json
import traceback
import warnings
from dataclasses import MISSING, asdict, dataclass, fields
from time import process_time
from typing import Any

import numpy as np
import torch
from minari import MinariDataset

from qdt_rl.baselines.sb3 import SB3Policy
from qdt_rl.data.minari_reader import environment_id, load_dataset, read_trajectories, reference_scores
from qdt_rl.errors import DivergenceError, InputError, TargetReturnWarning
from qdt_rl.evaluation.rollout import evaluate
from qdt_rl.experiments.comparison import count_parameters
from qdt_rl.experiments.controls import make_agent_or_control
from qdt_rl.experiments.mechanism import measure_mechanism
from qdt_rl.experiments.provenance import fingerprint, provenance
from qdt_rl.policy.agent import QDTPolicy
from qdt_rl.policy.protocol import Policy
from qdt_rl.training import Update, resolve_precision

ONLINE_AGENTS = ("PPO", "SAC")
"""The agents of Stable-Baselines3, which learn in the environment of a cell's dataset."""

_TRACE_INTERVAL = 10


@dataclass(frozen=True)
class Cell:
    """What is to be run: an agent, its data, its seed, and how it is judged.

    Attributes:
        experiment: The experiment's name.
        variant: The agent's name: one of ``AGENTS``, perhaps with a change of ``CONTROLS``, or one of
            ``ONLINE_AGENTS``.
        dataset: A Minari dataset's id.
        seed: Of the agent.
        n_steps: Updates; for an online agent, steps of the environment.
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

    @staticmethod
    def present_key(key: str) -> str:
        """Return a cell's key as it is written now: fields that are younger have their defaults."""
        defaults = {f.name: f.default for f in fields(Cell) if f.default is not MISSING}
        return json.dumps(defaults | json.loads(key), sort_keys=True)


def run_cell(cell: Cell) -> dict[str, Any]:
    """Train and evaluate the agent of a cell on one thread.

    Returns:
        A record that JSON can hold. ``failed`` holds the error of a cell that did not finish. Seconds are the
        process's own, so that what else the machine does does not count.
    """
    torch.set_num_threads(1)
    record: dict[str, Any] = {**asdict(cell), "key": cell.key(), **provenance(), "failed": None}
    try:
        dataset = load_dataset(cell.dataset)
        result = (_learn_online if cell.variant in ONLINE_AGENTS else _fit)(cell, dataset)
        json.dumps(result, allow_nan=False)  # here, where a number that is not finite fails this cell alone
        record |= result
    except Exception:  # whatever went wrong is the cell's record
        record["failed"] = traceback.format_exc()
    return record


def _fit(cell: Cell, dataset: MinariDataset) -> dict[str, Any]:
    agent = make_agent_or_control(cell.variant, seed=cell.seed, device="cpu", **dict(cell.settings))
    if cell.n_data_episodes:
        dataset = dataset.filter_episodes(lambda episode: episode.id < cell.n_data_episodes)
    trajectories = read_trajectories(dataset)
    updates: list[Update] = []
    evaluations, mechanism, train_seconds, done, diverged = [], [], 0.0, 0, None
    able: dict[str, Any] = {}  # weights that could act

    def keep(locals_: dict[str, Any], _: dict[str, Any]) -> bool:
        updates.append(locals_["update"])
        return True

    def judge(target_return: float | None) -> dict[str, Any]:
        return _evaluate(agent, agent.env_id, target_return, cell.n_episodes)

    for n_steps in sorted({*cell.evaluate_at, cell.n_steps}):
        start = process_time()
        try:
            agent.fit(dataset, n_steps - done, callback=keep)
        except DivergenceError as error:  # a result like any other: the weights before it are judged
            diverged = str(error)
        train_seconds += process_time() - start
        done = n_steps
        try:
            evaluation = judge(agent.best_return)
        except InputError as error:
            if not able:
                raise
            agent.set_parameters(able)
            diverged = diverged or str(error)
            evaluation = judge(agent.best_return)
        evaluations.append(evaluation)
        if diverged:
            break
        able = copy.deepcopy(agent.get_parameters())
        if isinstance(agent, QDTPolicy):
            measured = measure_mechanism(agent.model, trajectories)
            mechanism.append({"n_updates": agent.num_timesteps, **measured})
    if cell.expert_target and agent.reference_scores is not None:
        evaluations.append(judge(agent.reference_scores[1]))
    if cell.sliding_window and isinstance(agent, QDTPolicy):
        agent.sliding_window = True
        evaluations.append(judge(agent.best_return))
    kept = updates[::_TRACE_INTERVAL]
    return {
        "data": fingerprint(trajectories),
        "n_parameters": count_parameters(agent),
        "train_seconds": train_seconds,
        "precision": resolve_precision(agent.train_config.precision, "cpu"),
        "trace_interval": _TRACE_INTERVAL,
        "loss": [float(np.float32(update.loss)) for update in kept],
        "gradient_norm": [float(np.float32(update.gradient_norm)) for update in kept],
        "mechanism": mechanism,
        "diverged": diverged,
        "reference_scores": agent.reference_scores,
        "evaluations": evaluations,
    }


def _learn_online(cell: Cell, dataset: MinariDataset) -> dict[str, Any]:
    """Train in the environment of a dataset, and judge the agent as the offline ones are."""
    env_id = environment_id(dataset) or ""
    best_return = float(read_trajectories(dataset).episode_returns.max())
    start = process_time()
    agent = SB3Policy.learn(cell.variant, env_id, cell.n_steps, seed=cell.seed)
    train_seconds = process_time() - start
    return {
        "n_parameters": count_parameters(agent),
        "train_seconds": train_seconds,
        "precision": "32",
        "diverged": None,
        "reference_scores": reference_scores(dataset),
        "evaluations": [_evaluate(agent, env_id, best_return, cell.n_episodes, cell.n_steps)],
    }


def _evaluate(
    agent: Policy,
    env_id: str | None,
    target_return: float | None,
    n_episodes: int,
    n_updates: int | None = None,
) -> dict[str, Any]:
    if env_id is None or target_return is None:
        raise ValueError("the dataset names no environment to evaluate in")
    start = process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TargetReturnWarning)  # the expert's return is asked for on purpose
        result = evaluate(agent, env_id, target_return, n_episodes)
    return {
        "n_updates": getattr(agent, "num_timesteps", n_updates),
        "sliding_window": getattr(agent, "sliding_window", False),
        "target_return": target_return,
        "returns": result.returns.tolist(),
        "seconds": process_time() - start,
    }
