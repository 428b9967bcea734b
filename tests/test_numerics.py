"""The version of the numbers is part of every run."""

from collections.abc import Iterator

from kdbench.matrix import RunSpec, parse
from kdbench.numerics import NUMERICS
from kdbench.plan import make_plan


def needed_runs(spec: RunSpec) -> Iterator[RunSpec]:
    yield spec
    for _, need in spec.needs:
        yield from needed_runs(need)


def test_every_run_of_a_plan_has_the_version_of_this_code() -> None:
    raw = {
        "name": "small",
        "datasets": ["digits"],
        "pairs": [{"teacher": "mlp_12", "student": "mlp_8"}],
        "methods": {"vanilla": {}, "born_again": {}},
    }
    runs = [run for planned in make_plan(parse(raw, "small.toml")).runs for run in needed_runs(planned)]
    assert {run.method for run in runs} == {"scratch", "vanilla", "born_again"}
    assert {run.numerics for run in runs} == {NUMERICS}
