"""Mutants of a module: copies in which one operator, number, condition, loop or decorator is another."""

import ast
import difflib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

Place = tuple[str, int, int, str]
"""Module, line, column, and kind of change."""

_UNUSABLE = {"core/ExceptionReplacer"}  # as of cosmic-ray 8.7.0 it breaks on dotted names


@dataclass(frozen=True)
class Mutant:
    """The change that ``operator`` makes at the ``occurrence``-th place where it can make one."""

    place: Place
    operator: str
    occurrence: int

    def __str__(self) -> str:
        module, line, column, _ = self.place
        return f"{module}:{line}:{column} {self.operator.removeprefix('core/')} {self.occurrence}"

    def apply(self, source: str) -> str:
        """Return the mutated source."""
        return str(mutate_code(source, get_operator(self.operator)(), self.occurrence))

    def change(self, source: str) -> str:
        """Return the lines that differ, the old ones and then the new ones."""
        lines = difflib.unified_diff(source.splitlines(), self.apply(source).splitlines(), n=0, lineterm="")
        return "\n".join(f"    {line}" for line in list(lines)[3:])


def mutants_by_place(root: Path, modules: list[str]) -> dict[Place, list[Mutant]]:
    """Return the mutants of some modules, grouped by the place and the kind of the change.

    An operator such as ``+`` has eleven mutants of a kind; one is as good as all. Annotations are left out.
    """
    places: dict[Place, list[Mutant]] = defaultdict(list)
    for module in modules:
        source = (root / module).read_text(encoding="utf-8")
        nodes, annotations = list(ast_nodes(get_ast(source))), _annotations(source)
        for name in operator_names():
            operator = get_operator(name)
            if operator.arguments() or name in _UNUSABLE:  # arguments: which variables to replace
                continue
            spans = (span for node in nodes for span in operator().mutation_positions(node))
            for occurrence, (start, _) in enumerate(spans):
                if not any(first <= start < last for first, last in annotations):
                    place = (module, *start, name.split("_")[0])
                    places[place].append(Mutant(place, name, occurrence))
    return places


def _annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return where annotations start and end; columns count characters, which are ASCII up to there."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if annotation is not None:
                start = annotation.lineno, annotation.col_offset
                found.append((start, (annotation.end_lineno, annotation.end_col_offset)))
    return found
