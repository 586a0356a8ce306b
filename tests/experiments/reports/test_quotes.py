"""What README and results.md say of the experiments is what the reports say."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NUMBER = r"[+−-]?\d[\d,]*(?:\.\d+)?"
INTERVAL = re.compile(rf"{NUMBER}\s\({NUMBER}\sto\s{NUMBER}\)")
NAMED = re.compile(rf"(`[^`]+` - `[^`]+`) (?:is |after 500 updates is )?({INTERVAL.pattern})")
REPORTS = sorted((ROOT / "docs" / "results").glob("*.md"))
# Sections on what is not in a report, or in one without intervals of this kind.
END_OF_EXPERIMENTS = "The rest of this page is single runs"


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("−", "-"))


@pytest.fixture(scope="module")
def reports() -> str:
    return plain(" ".join(path.read_text() for path in REPORTS))


def quoted(page: str) -> list[str]:
    text = (ROOT / page).read_text()
    assert page == "README.md" or END_OF_EXPERIMENTS in text
    return [plain(found) for found in INTERVAL.findall(text.partition(END_OF_EXPERIMENTS)[0])]


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_every_interval_that_is_quoted_stands_in_a_report(page: str, reports: str) -> None:
    found = quoted(page)
    assert found
    assert [interval for interval in found if interval not in reports] == []


@pytest.mark.parametrize("page", ["README.md", "docs/results.md"])
def test_a_difference_is_quoted_of_the_agents_that_a_report_names(page: str, reports: str) -> None:
    text = plain((ROOT / page).read_text().partition(END_OF_EXPERIMENTS)[0])
    lines = [plain(line) for path in REPORTS for line in path.read_text().splitlines()]
    found = NAMED.findall(text)
    assert len(found) > 2
    assert [
        quote for quote in found if not any(quote[0] in line and quote[1] in line for line in lines)
    ] == []


def test_rows_of_the_reports_are_quoted_whole(reports: str) -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| qdt/")]
    assert [row for row in rows if plain(row) not in reports] == []
