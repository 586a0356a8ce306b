"""What is installed is what was meant: version, dependencies, files."""

import ast
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import qdt_rl

ROOT = Path(__file__).parents[1]
PACKAGES = {"qdt_rl": ROOT / "qdt_rl", "qdt_envs": ROOT / "envs" / "qdt_envs"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def read_pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pins}


def requirements() -> list[Requirement]:
    """Return what pyproject.toml asks for, all extras included, but for the project itself."""
    texts = [
        *PROJECT["dependencies"],
        *(text for extra in PROJECT["optional-dependencies"].values() for text in extra),
    ]
    return [requirement for text in texts if (requirement := Requirement(text)).name != PROJECT["name"]]


def test_the_version_is_stated_alike() -> None:
    assert qdt_rl.__version__ == PROJECT["version"]
    assert f"## {qdt_rl.__version__}" in (ROOT / "docs" / "changelog.md").read_text()


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins = read_pins()
    outside = [
        str(requirement)
        for requirement in requirements()
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"))
    ]
    assert outside == []


def test_every_import_is_a_declared_requirement() -> None:
    declared = {canonicalize_name(requirement.name) for requirement in requirements()}
    declared |= {"h5py"}  # minari[hdf5] is there to bring it
    providers = packages_distributions()
    undeclared = {
        package
        for package in third_party_imports()
        if not declared & {canonicalize_name(name) for name in providers[package]}
    }
    assert undeclared == set()


def third_party_imports() -> set[str]:
    names: set[str] = set()
    for path in (path for folder in PACKAGES.values() for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names - PACKAGES.keys()


def test_the_command_leads_to_a_function() -> None:
    module, function = PROJECT["scripts"]["qdt-rl"].split(":")
    assert callable(getattr(import_module(module), function))


def test_a_wheel_holds_both_packages_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hatchling = pytest.importorskip(
        "hatchling.build", reason="hatchling, which builds the wheel, is not installed"
    )
    monkeypatch.chdir(ROOT)
    with zipfile.ZipFile(tmp_path / hatchling.build_wheel(str(tmp_path))) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
        metadata = {Path(name).name for name in wheel.namelist() if ".dist-info/" in name}
    sources = {
        f"{package}/{path.relative_to(folder)}"
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == sources
    assert {f"{package}/py.typed" for package in PACKAGES} <= held
    assert {"LICENSE", "METADATA", "entry_points.txt"} <= metadata


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a checkout knows which files are its own")
def test_the_sources_archive_holds_what_git_keeps_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hatchling = pytest.importorskip("hatchling.build", reason="hatchling, which builds it, is not installed")
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / hatchling.build_sdist(str(tmp_path))) as archive:
        held = {name.split("/", 1)[1] for name in archive.getnames()}
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=True
    )
    assert held - {"PKG-INFO"} == set(listed.stdout.splitlines())
    assert "PKG-INFO" in held
