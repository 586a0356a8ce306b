"""Which Gymnasium ids may be used, and which may name one environment."""

import re

_PARTS = re.compile(r"(.*?)(-v\d+)?", re.DOTALL)
_ENV_ID = re.compile(r"(qdt_envs:)?[\w./-]{1,200}")


def is_safe_env_id(value: object) -> bool:
    """Whether a file may name this environment: Gymnasium imports what stands before a colon in an id."""
    return isinstance(value, str) and _ENV_ID.fullmatch(value) is not None


def may_name_same_env(first: str | None, second: str | None) -> bool:
    """Whether two ids may name one environment; None is one that is not known."""
    if first is None or second is None:
        return True
    (name, version), (other, others) = _parts(first), _parts(second)
    return name == other and (version == others or not version or not others)


def _parts(env_id: str) -> tuple[str, str]:
    """Return the name, without the module to import, and the version, which may be left out: the latest."""
    name, version = _PARTS.fullmatch(env_id.split(":")[-1]).groups()  # type: ignore[union-attr]  # fits any
    return name, version or ""
