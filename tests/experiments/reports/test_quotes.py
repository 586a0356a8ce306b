"""What README and results.md say of the experiments is what the reports say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NUMBER = r"[+−-]?\d[\d,]*(?:\.\d+)?"
INTERVAL = re.compile(rf"{NUMBER}\s\({NUMBER}\sto\s{NUMBER}\)")
# Sections on what is not in a report, or in one without intervals of this kind.
END_OF_EXPERIMENTS = "The rest of this page is single runs"


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("−", "-"))


@pytest.fixture(scope="module")
def reports() -> str:
    return plain(" ".join(path.read_text() for path in sorted((ROOT / "docs" / "results").glob("*.md"))))


def quoted(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    assert page == "README.md" or END_OF_EXPERIMENTS in text
    return [plain(found) for found in INTERVAL.findall(text.partition(END_OF_EXPERIMENTS)[0])]


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_every_interval_that_is_quoted_stands_in_a_report(page: str, reports: str) -> None:
    found = quoted(page)
    assert found
    assert [interval for interval in found if interval not in reports] == []


def test_rows_of_the_reports_are_quoted_whole(reports: str) -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| qdt/")]
    assert [row for row in rows if plain(row) not in reports] == []
