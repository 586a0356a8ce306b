"""Which Gymnasium ids may be used, and which may name one environment."""

import re

_ENV_ID = re.compile(r"(qdt_envs:)?[\w./-]{1,200}")


def is_safe_env_id(value: object) -> bool:
    """Whether a file may name this environment: Gymnasium imports what stands before a colon in an id."""
    return isinstance(value, str) and _ENV_ID.fullmatch(value) is not None


def may_name_same_env(first: str | None, second: str | None) -> bool:
    """Whether two ids may name one environment; None is one that is not known."""
    if first is None or second is None:
        return True
    return first.split(":")[-1] == second.split(":")[-1]  # "module:id" imports the module, and is the id
