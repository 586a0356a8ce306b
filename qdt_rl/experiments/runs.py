"""What the command line does with agents: train one and keep its log, evaluate some and keep the scores."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from minari import MinariDataset

from qdt_envs.controllers import EXPERT
from qdt_envs.reference_scores import REFERENCE_SCORES
from qdt_rl.baselines.reference import ControllerPolicy, RandomPolicy
from qdt_rl.baselines.sb3 import SB3Policy
from qdt_rl.data.minari_reader import load_dataset
from qdt_rl.env_ids import may_name_same_env
from qdt_rl.errors import ConfigError
from qdt_rl.evaluation.environments import AnyVectorEnv, vector_env
from qdt_rl.evaluation.rollout import require_own_spaces
from qdt_rl.experiments.agents import agent_name, load_agent, load_agents, make_agent, require_unique
from qdt_rl.experiments.comparison import Score, compare
from qdt_rl.experiments.figures import plot_requested_returns, plot_returns
from qdt_rl.experiments.output import output_file, output_folder
from qdt_rl.experiments.tables import save_scores
from qdt_rl.experiments.training_log import training_logger
from qdt_rl.files import remove_leftovers
from qdt_rl.policy.agent_file import agent_path
from qdt_rl.policy.base import OfflinePolicy
from qdt_rl.policy.checkpoints import Checkpoints, is_checkpoint
from qdt_rl.policy.protocol import Policy

_REFERENCES = ("random", "expert")
_LOG_INTERVAL, _SAVE_FREQ = 100, 1000


def train_agent(
    dataset_id: str, name: str, n_steps: int, path: Path, settings: Mapping[str, Any]
) -> list[Path]:
    """Train a new agent, and write it and its log; killed and called again alike, this goes on.

    Checkpoints lie in ``checkpoints_folder`` meanwhile.

    Args:
        dataset_id: A Minari dataset's id.
        name: One of ``AGENTS``.
        n_steps: Updates.
        path: Of the agent's file, ``.zip`` if it has no suffix; the log lies beside it, with
            ``.csv`` in the place of ``.zip``.
        settings: Of the agent's constructor.

    Returns:
        The files written.

    Raises:
        ConfigError: If a name or value is not known, or nothing can be written to ``path``.
        DatasetError: If the dataset is missing, empty or damaged, or its spaces are not supported.
    """
    return _fit(make_agent(name, **settings), dataset_id, n_steps, path, f"{agent_name(path)}.csv")


def resume_agent(
    resumed: Path, dataset_id: str, n_steps: int, path: Path, device: str = "auto"
) -> list[Path]:
    """Train a saved agent on, with the settings that it has, and write it and the log of these updates.

    The log of updates from n on is ``<name>-from-<n>.csv``, so that no earlier log is lost.

    Args:
        resumed: The agent's file.
        dataset_id: A Minari dataset's id.
        n_steps: Updates to take.
        path: Of the file to write, which may be the one that was read, unless that is a checkpoint.
        device: Where to train.

    Returns:
        The files written.

    Raises:
        CheckpointError: If ``resumed`` is missing, damaged, or not an agent of this library.
        ConfigError: If nothing can be written to ``path``, a checkpoint would be replaced, or this machine
            does not have the device.
        DatasetError: If the dataset is missing, empty or damaged, or has other spaces than the agent.
    """
    read, written = (agent_path(place).resolve() for place in (resumed, path))
    if read == written and is_checkpoint(read):
        raise ConfigError(
            f"{resumed} is a checkpoint, and would be replaced; name another file with --out. To end a run "
            "that was interrupted, repeat its own command."
        )
    agent = load_agent(resumed, device)
    return _fit(agent, dataset_id, n_steps, path, f"{agent_name(path)}-from-{agent.num_timesteps}.csv")


def compare_agents(
    paths: Sequence[Path],
    env_id: str | None,
    target_returns: Sequence[float] | None,
    n_episodes: int,
    seed: int,
    folder: Path,
    *,
    references: bool,
    online: Sequence[str] = (),
    online_steps: int = 0,
    device: str = "auto",
) -> tuple[list[Score], list[Path]]:
    """Evaluate agents on the same episodes, and write the scores and their figures.

    Args:
        paths: Agents' files; each agent is named by its file.
        env_id: A Gymnasium id; None: where the agents' data was recorded.
        target_returns: Returns to ask for; None: the best in the agents' data.
        n_episodes: For each agent and target.
        seed: Of the first episode, and of what is trained online.
        folder: Where tables and figures go.
        references: Whether to add random actions and, where the environment is ours, the expert.
        online: SB3 algorithms to train in the environment first: ``"PPO"``, ``"SAC"``.
        online_steps: Environment steps of each.
        device: Where offline agents act; SB3's train and act on the CPU.

    Returns:
        The scores, and the files written.

    Raises:
        CheckpointError: If a file is missing, damaged, or not an agent of this library.
        ConfigError: If the agents name no environment or several, do not fit the one that is given, two have
            one name, nothing can be written to ``folder``, or this machine does not have the device.
    """
    agents = load_agents(paths, device)
    require_unique([*agents, *online, *(_REFERENCES if references else ())])
    env_id = env_id or _common_env_id(agents)
    best = max(agent.best_return or 0.0 for agent in agents.values())
    targets = list(dict.fromkeys(target_returns or [best]))
    with vector_env(env_id, n_episodes) as env:
        for name, agent in agents.items():
            require_own_spaces(agent, env, name)
        output_folder(folder)
        policies: dict[str, Policy] = dict(agents)
        for name in online:
            policies[name] = SB3Policy.learn(name, env_id, online_steps, seed=seed, progress_bar=True)
        policies |= reference_policies(env, seed) if references else {}
        known = {a.reference_scores for a in agents.values() if may_name_same_env(a.env_id, env_id)} - {None}
        scale = known.pop() if len(known) == 1 else None  # of several, each agent keeps its own
        scores = list(
            compare(policies, env, targets, n_episodes, seed=seed, reference_scores=scale, progress_bar=True)
        )
    return scores, [*save_scores(scores, folder, "scores"), *_figures(scores, folder)]


def reference_policies(env: AnyVectorEnv, seed: int) -> dict[str, Policy]:
    """Return random actions and, where the environment is ours, the expert, which is shown its polarity.

    Args:
        env: Where they will act.
        seed: Of the random actions.
    """
    policies: dict[str, Policy] = {"random": RandomPolicy(env.single_action_space, seed)}
    if env.spec is not None and env.spec.id in REFERENCE_SCORES:
        policies["expert"] = ControllerPolicy(EXPERT, env)
    return policies


def _fit(agent: OfflinePolicy, dataset_id: str, n_steps: int, path: Path, log_name: str) -> list[Path]:
    """Train, and write the agent and its log; what a killed process has done of it is taken up."""
    dataset = load_dataset(dataset_id)
    path = output_file(agent_path(path))
    log = path.with_name(log_name)
    for file in (path, log):
        remove_leftovers(file)
    log_interval = max(1, min(_LOG_INTERVAL, n_steps // 10))
    save_freq = log_interval if n_steps < _SAVE_FREQ else _SAVE_FREQ  # so that no log entry spans a restart
    checkpoints = Checkpoints(checkpoints_folder(path, dataset), save_freq)
    begun, end = agent.num_timesteps, agent.num_timesteps + n_steps
    agent = _take_up(agent, checkpoints, end)
    n_kept = agent.num_timesteps if agent.num_timesteps > begun else 0
    if n_kept:
        print(f"{path}: going on after update {n_kept:,}")
    agent.set_logger(training_logger(log, n_kept, agent.tensorboard_outputs()))
    if agent.num_timesteps < end:
        agent.fit(
            dataset,
            end - agent.num_timesteps,
            callback=checkpoints,
            log_interval=log_interval,
            progress_bar=True,
        )
    agent.save(path)
    checkpoints.remove()
    return [path, log]


def checkpoints_folder(path: Path, dataset: MinariDataset) -> Path:
    """Return where checkpoints lie while an agent trains: apart from those of a run on other data.

    Args:
        path: The agent's file.
        dataset: One that is generated anew under its old id counts as another where its metadata differ.
    """
    metadata = (Path(dataset.storage.data_path) / "metadata.json").read_bytes()
    digest = sha256(dataset.id.encode() + metadata).hexdigest()[:8]
    return path.with_name(f"{agent_name(path)}-checkpoints-{digest}")


def _take_up(agent: OfflinePolicy, checkpoints: Checkpoints, end: int) -> OfflinePolicy:
    """Return the newest checkpoint of this very run, or the agent as it is if there is none."""
    newest = checkpoints.newest()
    if newest is None:
        return agent
    found = load_agent(newest, str(agent.device))
    if found.settings != agent.settings or not agent.num_timesteps < found.num_timesteps <= end:
        raise ConfigError(
            f"{newest} is a checkpoint of another run, after {found.num_timesteps:,} updates. Repeat "
            "that run's command to end it, delete the folder, or name another file with --out."
        )
    return found


def _common_env_id(agents: Mapping[str, OfflinePolicy]) -> str:
    """Return the environment that all agents' data was recorded in."""
    env_ids = {agent.env_id for agent in agents.values()} - {None}
    if not env_ids:
        raise ConfigError("The agents' datasets name no environment; name one with --env.")
    if len(env_ids) > 1:
        named = ", ".join(sorted(map(str, env_ids)))
        raise ConfigError(f"The agents' datasets were recorded in {named}; name one of them with --env.")
    return str(env_ids.pop())


def _figures(scores: Sequence[Score], folder: Path) -> list[Path]:
    """Draw one figure of the returns for each target, and one across targets if there are several."""
    targets = list(dict.fromkeys(score.target_return for score in scores))
    drawn = []
    for target in targets:
        drawn.append(folder / ("scores.png" if len(targets) == 1 else f"scores_{target:.15g}.png"))
        at_target = [score for score in scores if score.target_return == target]
        plot_returns(
            at_target,
            drawn[-1],
            f"{scores[0].env_id}: {len(at_target[0].result.returns)} episodes, {target:.6g} asked for",
        )
    if len(targets) > 1:
        drawn.append(folder / "requested_returns.png")
        conditioned = [score for score in scores if score.agent not in _REFERENCES]
        expert = next((score for score in scores if score.agent == "expert"), None)
        plot_requested_returns(
            conditioned, drawn[-1], f"{scores[0].env_id}: requested and achieved returns", expert
        )
    return drawn
