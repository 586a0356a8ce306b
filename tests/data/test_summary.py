from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from qdt_rl.data.summary import summarise_dataset


def test_summary_by_hand(make_dataset: Callable[..., Any], make_episode: Callable[..., Any]) -> None:
    dataset = make_dataset(
        [make_episode(0, 2), make_episode(1, 1), make_episode(2, 3)], algorithm_name="walk"
    )
    summary = summarise_dataset("test/known-v0")
    returns = [0.5 + 1.5, 1000.5, 3 * 2000.5 + 3]
    assert (summary.id, summary.env_id, summary.behaviour_policy) == ("test/known-v0", None, "walk")
    assert (summary.n_episodes, summary.n_steps) == (3, 6)
    assert (summary.shortest_episode, summary.longest_episode) == (1, 3)
    assert (summary.return_min, summary.return_max) == (returns[0], returns[2])
    assert summary.return_mean == pytest.approx(np.mean(returns))
    assert summary.return_std == pytest.approx(np.std(returns))
    assert summary.observation_space == dataset.observation_space
    assert summary.action_space == Box(-1, 1, (2,), np.float32)
    assert summary.reference_scores is None


def test_summary_of_some_episodes_and_of_any_spaces(
    make_dataset: Callable[..., Any], make_episode: Callable[..., Any]
) -> None:
    episodes = [make_episode(index, 2) | {"actions": np.array([3, 1])} for index in range(3)]
    dataset = make_dataset(episodes, action_space=Discrete(5))
    dataset.episode_indices = np.array([1])
    summary = summarise_dataset(dataset)
    assert (summary.n_episodes, summary.return_min, summary.return_max) == (1, 2002.0, 2002.0)
    assert summary.action_space == Discrete(5)
