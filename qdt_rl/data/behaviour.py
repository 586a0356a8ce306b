"""Who acts in the synthetic datasets."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from qdt_envs.controllers import (
    EXPERT,
    MEDIUM,
    ProportionalDerivative,
    RandomController,
    sample_medium_replay,
)


@dataclass(frozen=True)
class Behaviour:
    """A population of behaviour policies, one for each episode.

    Attributes:
        description: Who they are.
        sample: Makes the controller of N rows at once, from N and a generator.
    """

    description: str
    sample: Callable[[int, np.random.Generator], ProportionalDerivative | RandomController]


def gains(controller: ProportionalDerivative | RandomController, n_rows: int) -> list[dict[str, float]]:
    """Tell what each row of a controller is made of.

    Args:
        controller: A controller of N rows.
        n_rows: N.

    Returns:
        Its fields by name, for each row; nothing for random actions.
    """
    names = [field.name for field in fields(controller)]
    columns = [np.broadcast_to(getattr(controller, name), n_rows).tolist() for name in names]
    return [dict(zip(names, (column[row] for column in columns), strict=True)) for row in range(n_rows)]


def _sample_medium_expert(n_rows: int, rng: np.random.Generator) -> ProportionalDerivative:
    is_expert = np.arange(n_rows) % 2 == 1  # in turns, so that any number of episodes is half and half
    names = [field.name for field in fields(ProportionalDerivative)]
    return ProportionalDerivative(
        **{name: np.where(is_expert, getattr(EXPERT, name), getattr(MEDIUM, name)) for name in names}
    )


def _describe(controller: ProportionalDerivative) -> str:
    values = ", ".join(f"{field.name}={getattr(controller, field.name)}" for field in fields(controller))
    return f"proportional-derivative control ({values})"


QUALITIES = {
    "random": Behaviour("Uniformly random actions", lambda n_rows, rng: RandomController()),
    "medium": Behaviour(f"Medium: {_describe(MEDIUM)}", lambda n_rows, rng: MEDIUM),
    "medium-replay": Behaviour(
        f"Medium-replay: each episode somewhere between near random and {_describe(MEDIUM)}",
        sample_medium_replay,
    ),
    "medium-expert": Behaviour(
        f"Medium-expert: in turns {_describe(MEDIUM)} and {_describe(EXPERT)}", _sample_medium_expert
    ),
    "expert": Behaviour(f"Expert: {_describe(EXPERT)}", lambda n_rows, rng: EXPERT),
}
