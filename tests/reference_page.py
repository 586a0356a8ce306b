"""Writes docs/reference.md from the docstrings: ``python -m tests.reference_page``."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import qdt_rl
from qdt_rl import errors
from qdt_rl.config import ModelConfig
from qdt_rl.policy.base import OfflinePolicy

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
_HEAD = """\
# Reference

Arguments and their defaults, written from the docstrings by `python -m tests.reference_page`; a test holds
the page to them. `help(qdt_rl.QDTPolicy)` and every other docstring say more: shapes, units, results. K is
the context length, S and A are the sizes of an observation and of an action, B is a batch, E the episodes.

Names without a module are imported from `qdt_rl`: `from qdt_rl import QDTPolicy`.
"""
_CALLABLES: tuple[tuple[str, Callable[..., Any]], ...] = (
    ("QDTPolicy", qdt_rl.QDTPolicy),
    ("BehaviorCloning", qdt_rl.BehaviorCloning),
    ("fit, of both", OfflinePolicy.fit),
    ("predict, of both", OfflinePolicy.predict),
    ("save, of both", OfflinePolicy.save),
    ("load, of both", OfflinePolicy.load),
    ("evaluate", qdt_rl.evaluate),
    ("Checkpoints", qdt_rl.Checkpoints),
    ("ReturnConditionedVecEnv", qdt_rl.ReturnConditionedVecEnv),
    ("SB3Policy.learn", qdt_rl.SB3Policy.learn),
    ("generate_dataset", qdt_rl.generate_dataset),
    ("bootstrap_interval", qdt_rl.bootstrap_interval),
)
_ENTRY = re.compile(r"^(\w+): (.*)$")


def write_page() -> str:
    """Return the page."""
    parts = [_HEAD, *(_section(name, thing) for name, thing in _CALLABLES), _model_settings(), _errors()]
    return "\n".join(parts)


def read_entries(docstring: str, heading: str) -> dict[str, str]:
    """Return what a docstring says below a heading, such as ``Args``, by name."""
    _, _, below = inspect.cleandoc(docstring).partition(f"{heading}:\n")
    entries: dict[str, str] = {}
    name = ""
    for line in below.splitlines():
        if not line.startswith(" "):
            break
        if (found := _ENTRY.match(line[4:])) and not line.startswith("     "):
            name, entries[found[1]] = found[1], found[2]
        else:
            entries[name] += " " + line.strip()
    return {name: text.replace("``", "`").replace("|", "\\|") for name, text in entries.items()}


def _section(name: str, thing: Callable[..., Any]) -> str:
    docstring = inspect.getdoc(thing) or ""
    entries = read_entries(docstring, "Args")
    parameters = dict(inspect.signature(thing).parameters)
    for bound in ("self", "cls"):
        parameters.pop(bound, None)
    assert list(entries) == list(parameters), f"{name}: the docstring does not name the arguments in order"
    rows = [f"| `{key}` | {_default(parameters[key])} | {text} |" for key, text in entries.items()]
    summary = docstring.partition("\n\n")[0].replace("``", "`").replace("\n", " ")
    return "\n".join([f"## {name}\n", summary, "", "| argument | default | |", "|---|---|---|", *rows, ""])


def _default(parameter: inspect.Parameter) -> str:
    return "required" if parameter.default is inspect.Parameter.empty else f"`{parameter.default!r}`"


def _model_settings() -> str:
    """Return the fields of ``ModelConfig`` that an agent's settings may name."""
    given = ("observation_size", "action_size", "context_length")
    entries = read_entries(ModelConfig.__doc__ or "", "Attributes")
    rows = [
        f"| `{name}` | `{field.default!r}` | {entries[name]} |"
        for name, field in ModelConfig.__dataclass_fields__.items()
        if name not in given
    ]
    text = (
        "Fields of `qdt_rl.config.ModelConfig`, with the defaults of `dt`; the other variants change "
        "`attention`, `n_channels` or `hidden_size`, which is 4 `d_model` unless it is given. `max_timestep` "
        "is the longest episode of the data, at least 1000, unless it is given."
    )
    return "\n".join(["## policy_kwargs\n", text, "", "| setting | default | |", "|---|---|---|", *rows, ""])


def _errors() -> str:
    rows = list(_error_rows())
    text = (
        "Imported from `qdt_rl.errors`. Every message says what was expected, what came, and how to mend it. "
        "Environments raise `qdt_envs.EnvArgumentError`, a `ValueError`, for arguments that they cannot use."
    )
    return "\n".join(["## Errors and warnings\n", text, "", "| name | is a | |", "|---|---|---|", *rows, ""])


def _error_rows() -> Iterator[str]:
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, Exception):
            parents = ", ".join(f"`{parent.__name__}`" for parent in kind.__bases__)
            yield f"| `{name}` | {parents} | {inspect.getdoc(kind)} |"


if __name__ == "__main__":
    PAGE.write_text(write_page())
