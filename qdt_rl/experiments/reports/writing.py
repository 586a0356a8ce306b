"""Reports on disk: Markdown, figures, and one HTML page that needs no other file."""

import base64
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from markdown_it import MarkdownIt

from qdt_rl.errors import RecordError
from qdt_rl.experiments.cells import Cell
from qdt_rl.experiments.figures import plot_panels
from qdt_rl.experiments.grids import find_grid
from qdt_rl.experiments.records import read_records, records_path
from qdt_rl.experiments.reports.ablation import ablation_page
from qdt_rl.experiments.reports.catastrophe import catastrophe_page
from qdt_rl.experiments.reports.credit import credit_page
from qdt_rl.experiments.reports.folded import folded_page
from qdt_rl.experiments.reports.mechanism import mechanism_page
from qdt_rl.experiments.reports.online import online_page
from qdt_rl.experiments.reports.outcomes import Outcomes, Records
from qdt_rl.experiments.reports.page import Page
from qdt_rl.experiments.reports.plateau import plateau_page
from qdt_rl.experiments.reports.precision import precision_page
from qdt_rl.experiments.reports.sceptic import false_positives
from qdt_rl.experiments.reports.sensitivity import sensitivity_page
from qdt_rl.files import write_whole


class Report(NamedTuple):
    """How an experiment is reported, and which other experiments' records it looks at."""

    page: Callable[[Sequence[Cell], Outcomes], Page]
    beside: tuple[str, ...] = ()


REPORTS: Mapping[str, Report] = MappingProxyType(
    {
        "precision": Report(precision_page),
        "ablation": Report(ablation_page, ("online",)),
        "online": Report(online_page, ("ablation",)),
        "folded": Report(folded_page, ("ablation",)),
        "plateau": Report(plateau_page),
        "sensitivity": Report(sensitivity_page, ("ablation",)),
        "catastrophe": Report(catastrophe_page, ("ablation",)),
        "credit": Report(credit_page, ("ablation",)),
        "mechanism": Report(mechanism_page, ("ablation",)),
    }
)
"""By the names of ``GRIDS``."""

_TWO, _THREE, _FIVE = (false_positives(n) for n in (2, 3, 5))
_INTERVALS = f"""\
Intervals: 95 %, percentile bootstrap over seeds, where a table does not name another. Of few seeds it is too
narrow: it excludes a true zero in {_TWO} of all cases with two seeds, in \
{_THREE} with three and in {_FIVE} with five. Of a single seed there is none."""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse }} th, td {{ border-bottom: 1px solid #ddd; padding: .2rem .6rem }}
img {{ max-width: 100% }}
</style></head><body>{body}</body></html>
"""


def write_report(name: str, folder: Path) -> list[Path]:
    """Write an experiment's tables as Markdown, its figures as PNG and SVG, and both as one HTML page.

    Args:
        name: The experiment.
        folder: Where its records are, and where the report goes.

    Returns:
        The files written.

    Raises:
        RecordError: If there are no records, or too few to say anything.
        ConfigError: If the experiment is unknown.
    """
    text, page = read_report(name, folder)
    images = _draw(name, page, folder)
    markdown, html = folder / f"{name}.md", folder / f"{name}.html"
    write_whole(markdown, with_links(name, text, page).encode())
    write_whole(html, _html(name, text, images).encode())
    drawings = [image.with_suffix(suffix) for image in images.values() for suffix in (".svg", ".png")]
    return [markdown, *drawings, html]


def read_report(name: str, folder: Path) -> tuple[str, Page]:
    """Return a report's Markdown, but for its figures, and its page; errors as ``write_report``."""
    cells, path = find_grid(name), records_path(folder, name)
    if not path.exists():
        raise RecordError(
            f"There are no records at {path}; run `qdt-rl experiment run {name} --out {folder}` first."
        )
    report = REPORTS[name]
    records = {other: read_records(records_path(folder, other)) for other in (name, *report.beside)}
    page = report.page(cells, Outcomes([record for found in records.values() for record in found]))
    made_with = "\n".join(
        _provenance(other, found) if found else f"- `{other}`, which is compared with: no records here"
        for other, found in records.items()
    )
    return f"## {name}\n\n{made_with}\n\n{_INTERVALS}\n\n{page.text}", page


def with_links(name: str, text: str, page: Page) -> str:
    """Return a report's Markdown with links to its figures."""
    return text + "\n" + "".join(f"![{kind}]({name}-{kind}.png)\n\n" for kind in page.figures)


def _draw(name: str, page: Page, folder: Path) -> dict[str, Path]:
    """Write each figure as SVG and PNG, and return the latter by name."""
    images = {}
    for kind, panels in page.figures.items():
        images[kind] = folder / f"{name}-{kind}.png"
        for path in (images[kind].with_suffix(".svg"), images[kind]):
            plot_panels(lambda axes, panel: panel.draw(axes), panels, path)
    return images


def _provenance(name: str, records: Records) -> str:
    """Return a line that says what the records were made with."""
    commits = sorted({str(record["commit"]) for record in records})
    processors = sorted({record["processor"] for record in records})
    versions = dict.fromkeys(item for record in records for item in record["versions"].items())
    made_with = ", ".join(f"{package} {version}" for package, version in versions)
    precisions = sorted({record["precision"] for record in records if "precision" in record})
    failed = sum(bool(record["failed"]) for record in records)
    diverged = sum(bool(record.get("diverged")) for record in records)
    return (
        f"- `{name}`: {len(records)} records ({failed} failed, {diverged} diverged), "
        f"{made_with}; processors: {'; '.join(processors)}; "
        + (f"precisions: {', '.join(precisions)}; " if precisions else "")
        + f"commits: {', '.join(commits)}"
    )


def _html(name: str, text: str, images: Mapping[str, Path]) -> str:
    """Return one page that needs no other file."""
    body = MarkdownIt("commonmark").enable("table").render(text)
    for kind, path in images.items():
        data = base64.b64encode(path.read_bytes()).decode()
        body += f'<h3>{escape(kind)}</h3><img alt="{escape(kind)}" src="data:image/png;base64,{data}">'
    return _PAGE.format(title=escape(f"qdt_rl: {name}"), body=body)
