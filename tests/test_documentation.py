"""The documentation is true: its code runs, its commands are those of CI, and what it names exists."""

import re
import shlex
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import pytest
from typer.testing import CliRunner

import qdt_rl  # noqa: F401  # registers the environments
from qdt_envs.reference_scores import REFERENCE_SCORES
from qdt_rl.cli import app
from tests.reference_page import PAGE, write_page

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = {"python", "bash", "text"}

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
OUR_FILE = re.compile(
    r"\b(?:qdt_rl|envs/qdt_envs|tests|docs)/[\w/]*\w\.\w+(?:::\w+)?|\bconstraints\.txt|pyproject\.toml"
)


class Block(NamedTuple):
    """A fenced block; ``line`` is that of its first line of text."""

    line: int
    language: str
    text: str


def read_blocks(page: str) -> Iterator[Block]:
    for fence in FENCE.finditer(page):
        line = page.count("\n", 0, fence.start("text")) + 1
        yield Block(line, fence["language"], textwrap.dedent(fence["text"]))


def read_commands(text: str) -> list[str]:
    """Return the commands of a shell block, one a line; a backslash goes on to the next."""
    return [line for line in text.replace("\\\n", " ").splitlines() if shlex.split(line, comments=True)]


def run(command: str) -> None:
    """Run a command of ours; any other must be one that is run elsewhere, or that a look can check."""
    words = shlex.split(command, comments=True)
    if words[0] == "qdt-rl":
        result = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
    elif "pytest" in words:
        paths = words[words.index("pytest") + 1 :]
        paths = paths[2:] if paths[:2] == ["-n", "2"] else paths
        assert [path for path in paths if not (ROOT / path).exists()] == []
    else:
        assert command in commands_run_elsewhere(), f"no test knows the command: {command}"


def commands_run_elsewhere() -> set[str]:
    """Return what CI and the Makefile run, as one would type it."""
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    steps = {line.removeprefix("step ").replace("--quiet ", "") for line in ci if line.startswith("step ")}
    makefile = (ROOT / "Makefile").read_text().splitlines()
    return steps | {line.removeprefix("\t") for line in makefile if line.startswith("\t")}


@pytest.fixture
def _a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


@pytest.fixture
def _short_episodes(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Truncate episodes after 100 steps, not 1000, but on the page that states what whole ones are worth."""
    if page.name != "environment.md":
        for env_id in REFERENCE_SCORES:
            monkeypatch.setattr(gym.spec(env_id), "max_episode_steps", 100)


@pytest.mark.usefixtures("_a_folder_of_its_own", "_short_episodes")
@pytest.mark.filterwarnings("ignore:`eval_env` is set to None:UserWarning")  # Minari's, about data without
@pytest.mark.filterwarnings("ignore:env_spec is None:UserWarning")  # an environment
@pytest.mark.filterwarnings("ignore::qdt_rl.errors.TargetReturnWarning")  # episodes are short here
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs(page: Path) -> None:
    namespace = {"__name__": "documentation"}
    for line, language, text in read_blocks(page.read_text()):
        assert language in LANGUAGES, f"{page}:{line}: a block of {language or 'no language'}"
        if language == "python":
            exec(compile("\n" * (line - 1) + text, page, "exec"), namespace)
        for command in read_commands(text) if language == "bash" else ():
            run(command)


def test_the_readmes_first_commands_are_those_of_ci_and_the_makefile() -> None:
    setup, tests = [read_commands(block.text) for block in read_blocks(PAGES[0].read_text())][:2]
    assert setup[-1] == ".venv/bin/qdt-rl quickstart"
    assert tests == [".venv/bin/python -m pytest -n 2"]
    ci = (ROOT / ".ci" / "run").read_text()
    for command in [*setup[:-1], *tests]:
        assert f"step {command}\n" in ci.replace("--quiet ", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    prose = FENCE.sub("", page.read_text())
    targets = [link["target"] for link in LINK.finditer(prose) if "://" not in link["target"]]
    assert [target for target in targets if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    return file.is_file() and (not anchor or anchor in anchors(file.read_text()))


def anchors(page: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_tests_and_make_targets_that_are_named_exist(page: Path) -> None:
    text = page.read_text()
    assert [name for name in OUR_FILE.findall(text) if not exists(name)] == []
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= set(targets)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"extra `(\w+)`", text)) <= extras.keys()


def exists(name: str) -> bool:
    path, _, test = name.partition("::")
    return (ROOT / path).is_file() and (not test or f"def {test}(" in (ROOT / path).read_text())


def test_the_page_of_reference_is_what_the_docstrings_say() -> None:
    assert PAGE.read_text() == write_page(), "run python -m tests.reference_page"


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert [
        page.name for page in PAGES[1:] if page.name != "index.md" and f"({page.name})" not in index
    ] == []


def test_the_reader_of_pages_finds_blocks_commands_and_anchors() -> None:
    page = "# A `b`: c?\n\n```python\nx = 1\n```\n- d\n\n  ```bash\n  one \\\n    two  # 3\n  # 4\n  ```\n"
    first, second = read_blocks(page)
    assert first == Block(4, "python", "x = 1\n")
    assert [shlex.split(command, comments=True) for command in read_commands(second.text)] == [["one", "two"]]
    assert anchors(page) == {"a-b-c"}
    assert not exists("tests/test_documentation.py::test_that_is_not_there")
    with pytest.raises(AssertionError, match="no test knows the command: rm -rf x"):
        run("rm -rf x")
