"""A small world in which matrices mean something: two data sets, four networks, five methods. No torch."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from kdbench.errors import DataError, MethodError, NetworkError, did_you_mean
from kdbench.matrix import DataSpec, Expansion, MatrixSpec, NetworkSpec, Part, RunSpec, expand, parse
from kdbench.matrix.recipe import Recipe

METHODS: dict[str, dict[str, Any]] = {
    "scratch": {"label_smoothing": 0.0},
    "vanilla": {"alpha": 0.9, "temperature": 4.0},
    "triplet": {"margin": 1.0},
    "layers": {"at": [1, 2]},
    "mutual": {"weight": 1.0},
}
NETWORKS = ("large", "middle", "small", "tiny")
PLAIN = {"name": "m", "datasets": ["digits"], "pairs": [{"teacher": "large", "student": "small"}]}


class FakeRegistry:
    """A registry of the names above only."""

    def dataset(self, spec: DataSpec) -> DataSpec:
        if spec.kind not in ("digits", "letters"):
            raise DataError(
                f"data set '{spec.name}' is of no known kind; {did_you_mean(spec.kind, ('digits', 'letters'))}"
            )
        return replace(spec, fingerprint=f"{spec.kind} {sorted(spec.options)}")

    def network(self, spec: NetworkSpec) -> NetworkSpec:
        if spec.factory is None and spec.known_as not in NETWORKS:
            raise NetworkError(f"there is no network '{spec.known_as}'; {did_you_mean(spec.known_as, NETWORKS)}")
        spec = replace(spec, start=f"content of {spec.weights}") if spec.has_initial_weights else spec
        return replace(spec, source="0123") if spec.factory else spec

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe.model_copy(update={"precision": "fp32"}) if recipe.precision == "auto" else recipe

    def is_list(self, method: str, hyperparameter: str) -> bool:
        return isinstance(self._known(method).get(hyperparameter), list)

    def part(self, method: str, given: Mapping[str, Any]) -> Part:
        known = self._known(method)
        for key, value in given.items():
            if key not in known:
                raise MethodError(f"'{method}' has no hyperparameter '{key}'; {did_you_mean(key, known)}")
            if isinstance(value, bool) or not isinstance(value, list if isinstance(known[key], list) else int | float):
                raise MethodError(f"{key} must be like {known[key]}, got {value!r}")
        return Part(method, {**known, **given})

    def with_dependencies(self, spec: RunSpec, teacher: RunSpec, peers: tuple[NetworkSpec, ...]) -> RunSpec:
        names = {part.name for part in spec.parts}
        needs = () if names <= {"scratch", "mutual"} else (("teacher", teacher),)
        return replace(spec, needs=needs, peers=(peers or (teacher.student,)) if "mutual" in names else ())

    def _known(self, method: str) -> dict[str, Any]:
        if method not in METHODS:
            raise MethodError(f"unknown method '{method}'; {did_you_mean(method, METHODS)}")
        return METHODS[method]


@pytest.fixture
def matrix() -> Callable[..., MatrixSpec]:
    """A small valid matrix, with the tables that are given."""

    def make(**tables: Any) -> MatrixSpec:
        return parse({**PLAIN, **tables}, "m.toml")

    return make


@pytest.fixture
def expanded(matrix: Callable[..., MatrixSpec]) -> Callable[..., Expansion]:
    """That matrix, expanded with the fake registry."""

    def make(**tables: Any) -> Expansion:
        return expand(matrix(**tables), FakeRegistry())

    return make
