"""The imports hold the layout: arrows point down only, and each room keeps to its own tools."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import qdt_rl

ROOT = Path(__file__).parents[1]
PACKAGES = {"qdt_rl": ROOT / "qdt_rl", "qdt_envs": ROOT / "envs" / "qdt_envs"}
MAX_LINES = 300

# From the top down; a room knows itself and the rooms of lower lines, but not its neighbours on its own line.
LINES = (
    {"qdt_rl"},
    {"qdt_rl.__main__"},
    {"qdt_rl.cli"},
    {"qdt_rl.experiments"},
    {"qdt_rl.evaluation", "qdt_rl.baselines"},
    {"qdt_rl.policy"},
    {"qdt_rl.training"},
    {"qdt_rl.data", "qdt_rl.model"},
    {"qdt_rl.config", "qdt_rl.env_ids", "qdt_rl.console", "qdt_rl.files", "qdt_rl.memory", "qdt_rl.progress"},
    {"qdt_rl.errors"},
    {"qdt_envs"},
)
HEIGHTS = {room: -line for line, rooms in enumerate(LINES) for room in rooms}

# Who may know the environments from inside: to register them, to record behaviour, to show the expert.
ENVS_ARE_KNOWN_TO = {
    "qdt_rl",
    "qdt_rl.data.behaviour",
    "qdt_rl.data.generation",
    "qdt_rl.data.recording",
    "qdt_rl.baselines.reference",
    "qdt_rl.experiments.runs",
}

# What a room may use from outside; rooms that are not listed may use whatever is installed.
TOOLS = {
    "qdt_envs": {"gymnasium", "numpy"},
    "qdt_rl": set(),
    "qdt_rl.errors": set(),
    "qdt_rl.config": set(),
    "qdt_rl.env_ids": set(),
    "qdt_rl.files": set(),
    "qdt_rl.progress": {"rich"},
    "qdt_rl.model": {"torch", "numpy", "jaxtyping"},
    "qdt_rl.data": {"numpy", "gymnasium", "minari", "h5py", "filelock", "jaxtyping"},
    "qdt_rl.training": {"torch", "numpy", "jaxtyping", "lightning_fabric"},
    "qdt_rl.cli": {"typer", "rich"},
    "qdt_rl.console": {"rich"},
}
EXTRA_TOOLS = {"qdt_envs.picture": {"pygame"}, "qdt_envs.rendering": {"pygame"}}

HEAVY = ["torch", "minari", "stable_baselines3", "lightning_fabric", "h5py", "matplotlib", "scipy", "pygame"]


class Import(NamedTuple):
    """A module that imports another, wherever in the file it does so."""

    path: Path
    line: int
    importer: str
    imported: str


def read_imports(packages: dict[str, Path]) -> Iterator[Import]:
    """Yield every import of every module, those inside functions and under TYPE_CHECKING too."""
    modules = {
        module: path for name, folder in packages.items() for module, path in find_modules(name, folder)
    }
    for importer, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text())):
            for imported in named_by(node, importer, path.name == "__init__.py", modules):
                yield Import(path, node.lineno, importer, imported)


def find_modules(package: str, folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*.py")):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def named_by(node: ast.AST, importer: str, is_package: bool, modules: dict[str, Path]) -> list[str]:
    """Return the modules that a statement imports: for ``from package import module`` the module itself."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    anchor = importer.split(".")[: None if is_package else -1]
    parents = anchor[: len(anchor) + 1 - node.level] if node.level else []
    base = ".".join([*parents, *([node.module] if node.module else [])])
    return [name if (name := f"{base}.{alias.name}") in modules else base for alias in node.names]


def room_of(module: str) -> str:
    """Return the room of one of our modules: its package or module below qdt_rl, or qdt_envs as a whole."""
    package, *inner = module.split(".")
    return package if package == "qdt_envs" or not inner else f"{package}.{inner[0]}"


def find_violations(packages: dict[str, Path]) -> list[str]:
    """Return what breaks the layout, each with its file and line."""
    found = (
        f"{path}:{line}: {importer} imports {imported}: {fault}"
        for path, line, importer, imported in read_imports(packages)
        if (fault := fault_of(importer, imported))
    )
    return sorted(set(found))


def fault_of(importer: str, imported: str) -> str | None:
    """Return why an import breaks the layout, or None."""
    room, package = room_of(importer), imported.split(".")[0]
    if package not in ("qdt_rl", "qdt_envs"):
        allowed = TOOLS[room] | EXTRA_TOOLS.get(importer, set()) if room in TOOLS else None
        is_foreign = allowed is not None and package not in allowed | sys.stdlib_module_names
        return f"{room} does without {package}" if is_foreign else None
    target = room_of(imported)
    for unknown in sorted({room, target} - HEIGHTS.keys()):
        return f"{unknown} has no place in the layout"
    if target == "qdt_envs" and room != "qdt_envs" and importer not in ENVS_ARE_KNOWN_TO:
        return "environments are named by their ids"
    if target != room and HEIGHTS[target] >= HEIGHTS[room]:
        return "arrows point down only"
    return None


def test_arrows_point_down_and_each_room_keeps_to_its_tools() -> None:
    assert find_violations(PACKAGES) == []


def test_no_module_is_too_long() -> None:
    lengths = {
        path: len(path.read_text().splitlines())
        for package, folder in PACKAGES.items()
        for _, path in find_modules(package, folder)
    }
    assert [f"{path}: {length} lines" for path, length in lengths.items() if length > MAX_LINES] == []


MADE_UP = {
    "qdt_rl/__init__.py": "import qdt_envs\nfrom qdt_rl.policy.agent import Agent\n",
    "qdt_rl/errors.py": "import os\n",
    "qdt_rl/config.py": "from qdt_rl import errors\nfrom .errors import Error\n",
    "qdt_rl/misc.py": "import os\n",
    "qdt_rl/data/__init__.py": "",
    "qdt_rl/data/windows.py": "import numpy as np\n",
    "qdt_rl/data/reader.py": "import os\nimport torch.nn as nn\n",
    "qdt_rl/model/__init__.py": "from . import layer\n",
    "qdt_rl/model/layer.py": "def f():\n    if True:\n        from qdt_rl.data.windows import take\n",
    "qdt_rl/training.py": "from qdt_rl.data import windows\nimport qdt_rl.model.layer, minari\n",
    "qdt_rl/policy/__init__.py": "",
    "qdt_rl/policy/agent.py": (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..evaluation import rollout\n"
        "from qdt_envs.controllers import EXPERT\n"
    ),
    "qdt_rl/evaluation/__init__.py": "",
    "qdt_rl/evaluation/rollout.py": "from qdt_rl.baselines.sb3 import X\nfrom qdt_rl.policy.agent import Y\n",
    "qdt_rl/baselines/__init__.py": "",
    "qdt_rl/baselines/sb3.py": "import anything\nimport qdt_rl.misc\nfrom qdt_rl import __version__\n",
    "envs/qdt_envs/__init__.py": "import gymnasium\nfrom qdt_envs.picture import draw\n",
    "envs/qdt_envs/picture.py": "import pygame\nimport scipy.stats\nfrom qdt_rl.errors import Error\n",
}


def test_the_checker_finds_what_is_wrong_in_a_made_up_tree(tmp_path: Path) -> None:
    for name, text in MADE_UP.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    violations = find_violations({"qdt_rl": tmp_path / "qdt_rl", "qdt_envs": tmp_path / "envs" / "qdt_envs"})
    assert [violation.removeprefix(f"{tmp_path}/") for violation in violations] == [
        "envs/qdt_envs/picture.py:2: qdt_envs.picture imports scipy.stats: qdt_envs does without scipy",
        "envs/qdt_envs/picture.py:3: qdt_envs.picture imports qdt_rl.errors: arrows point down only",
        "qdt_rl/baselines/sb3.py:2: qdt_rl.baselines.sb3 imports qdt_rl.misc: "
        "qdt_rl.misc has no place in the layout",
        "qdt_rl/baselines/sb3.py:3: qdt_rl.baselines.sb3 imports qdt_rl: arrows point down only",
        "qdt_rl/data/reader.py:2: qdt_rl.data.reader imports torch.nn: qdt_rl.data does without torch",
        "qdt_rl/evaluation/rollout.py:1: qdt_rl.evaluation.rollout imports qdt_rl.baselines.sb3: "
        "arrows point down only",
        "qdt_rl/model/layer.py:3: qdt_rl.model.layer imports qdt_rl.data.windows: arrows point down only",
        "qdt_rl/policy/agent.py:3: qdt_rl.policy.agent imports qdt_rl.evaluation.rollout: "
        "arrows point down only",
        "qdt_rl/policy/agent.py:4: qdt_rl.policy.agent imports qdt_envs.controllers: "
        "environments are named by their ids",
        "qdt_rl/training.py:2: qdt_rl.training imports minari: qdt_rl.training does without minari",
    ]


def test_the_command_line_sets_how_threads_wait_before_torch_is_loaded() -> None:
    code = (
        "import os, sys\nfrom qdt_rl import cli\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "try:\n    cli.main(['--version'])\nexcept SystemExit:\n"
        "    print(heavy, os.environ['OMP_WAIT_POLICY'])\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[] PASSIVE"


@pytest.mark.parametrize("package", ["qdt_rl", "qdt_envs"])
def test_the_import_itself_stays_light(package: str) -> None:
    code = f"import sys, {package}; print([name for name in {HEAVY} if name in sys.modules])"
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'envs'}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_public_names_are_stated_once_and_resolve() -> None:
    assert sorted(qdt_rl.__all__) == sorted(qdt_rl._HOMES) == sorted(set(qdt_rl.__all__))
    tree = ast.parse((PACKAGES["qdt_rl"] / "__init__.py").read_text())
    [shown_to_type_checkers] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        f"{statement.module}.{alias.name}"
        for statement in shown_to_type_checkers.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert typed == {f"qdt_rl.{home}.{name}" for name, home in qdt_rl._HOMES.items()}
    assert all(getattr(qdt_rl, name) is not None for name in qdt_rl.__all__)
