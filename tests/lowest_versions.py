"""Prints the lowest versions that pyproject.toml allows, as constraints for pip.

``python tests/lowest_versions.py > lowest.txt``, and then ``pip install -c lowest.txt -e ".[dev]"`` into an
environment of its own: what the ranges promise is what the tests pass with there. Torch is pinned as in
constraints.txt.
"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Print a line for each direct dependency."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = {lowest(requirement) for requirement in sum(extras.values(), project["dependencies"])}
    pinned = re.search(r"^torch==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    print("\n".join(sorted({*lines, pinned[0]} - {None})))


def lowest(requirement: str) -> str | None:
    """Return ``name==bound`` for ``name[extras]>=bound``, and None for torch or where there is no bound."""
    match = re.match(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", requirement)
    return f"{match[1]}=={match[2]}" if match and match[1] != "torch" else None


if __name__ == "__main__":
    main()
