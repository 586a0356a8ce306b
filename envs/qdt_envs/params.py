"""The constants of the physics, checked once."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qdt_envs.errors import EnvArgumentError

_COEFFICIENT_LIMIT = 1000.0  # far beyond what dt resolves, far below what overflows
_COUNT_LIMIT = 10**9


@dataclass(frozen=True)
class Params:
    """The constants of the physics, and the environment's keyword arguments.

    Attributes:
        stiffness: k of the double wells, in [0, 1000].
        coupling: κ of the springs between neighbours, in [0, 1000].
        damping: c, in [0, 1000].
        force: F, the acceleration that an action of 1 exerts, in [0, 1000].
        dt: Length of a step in units of time, in (0, 1].
        noise_std: σ of the noise on the velocities, in [0, 1000].
        command_period: Steps between two changes of the command's sign, from 1 to 10⁹.
        reward_delay: d, from 1 to 10⁹; the sum of the last d rewards is paid every d steps. 1 pays at once.
        hidden_polarity: Whether each actuator's sign is drawn at each reset, instead of being +1.

    Raises:
        EnvArgumentError: If a value is of the wrong kind or out of its range.
    """

    stiffness: float = 1.0
    coupling: float = 0.3
    damping: float = 0.2
    force: float = 1.5
    dt: float = 0.05
    noise_std: float = 0.05
    command_period: int = 250
    reward_delay: int = 1
    hidden_polarity: bool = False

    def __post_init__(self) -> None:
        for name in ("stiffness", "coupling", "damping", "force", "noise_std"):
            value = getattr(self, name)
            allowed = _is_number(value) and 0 <= value <= _COEFFICIENT_LIMIT
            _require(allowed, name, f"a number from 0 to {_COEFFICIENT_LIMIT:.0f}", value)
        _require(_is_number(self.dt) and 0 < self.dt <= 1, "dt", "a number above 0, at most 1", self.dt)
        for name in ("command_period", "reward_delay"):
            require_count(name, getattr(self, name))
        is_flag = isinstance(self.hidden_polarity, bool)
        _require(is_flag, "hidden_polarity", "True or False", self.hidden_polarity)

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any]) -> "Params":
        """Build the parameters from an environment's keyword arguments.

        Raises:
            EnvArgumentError: If a name is unknown, or a value out of its range.
        """
        known = cls.__dataclass_fields__
        for name in arguments:
            if name not in known:
                names = ", ".join(known)
                raise EnvArgumentError(
                    f"The environment has no argument {name!r}. Its physics has the arguments {names}."
                )
        return cls(**arguments)


def require_count(name: str, value: Any) -> None:
    """Raise an EnvArgumentError unless the value is a whole number from 1 to 10⁹."""
    is_count = isinstance(value, int | np.integer) and not isinstance(value, bool)
    _require(
        is_count and 1 <= value <= _COUNT_LIMIT, name, f"a whole number from 1 to {_COUNT_LIMIT:,}", value
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _require(condition: bool, name: str, expected: str, value: object) -> None:
    if not condition:
        raise EnvArgumentError(f"{name} must be {expected}, but {value!r} was given.")
