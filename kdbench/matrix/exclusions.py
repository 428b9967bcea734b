"""The `[[exclude]]` rules of a matrix, and what they leave out."""

from collections.abc import Sequence
from typing import final

from kdbench.matrix.cells import EVERYTHING, Excluded
from kdbench.matrix.schema import CellKey, MatrixSpec, Pair
from kdbench.matrix.spec import DataSpec


@final
class Exclusions:
    """Applies the rules and records what they exclude."""

    def __init__(self, matrix: MatrixSpec) -> None:
        self._rules = matrix.exclude
        self._seeds = (*matrix.protocol.search_seeds, *matrix.seeds)
        self._used: set[int] = set()
        self.excluded: list[Excluded] = []

    def excludes_pair(self, data: DataSpec, pair: Pair) -> bool:
        """Return whether a rule leaves out a pair on a data set, baselines included."""
        key = CellKey(data.name, pair.teacher, pair.student, ())
        rules = [i for i, rule in enumerate(self._rules) if rule.is_pair_wide and rule.matches(key)]
        self._used.update(rules)
        if rules:
            self.excluded.append(Excluded(EVERYTHING, data.name, pair, self._seeds, self._rules[rules[0]].why))
        return bool(rules)

    def left(self, label: str, pair: Pair, key: CellKey, seeds: Sequence[int]) -> list[int]:
        """Return those seeds of a label that no rule matches."""
        excluded: set[int] = set()
        for i, rule in enumerate(self._rules):
            matching = tuple(s for s in seeds if rule.matches(key) and s in (rule.seed or (s,)))
            if matching:
                self._used.add(i)
                self.excluded.append(Excluded(label, key.dataset, pair, matching, rule.why))
                excluded.update(matching)
        return [seed for seed in seeds if seed not in excluded]

    def unused(self) -> list[str]:
        """Return the keys of the rules that matched nothing."""
        return [f"exclude[{i}]" for i in range(len(self._rules)) if i not in self._used]
