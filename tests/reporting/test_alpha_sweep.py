"""Labels with several values of alpha."""

from hypothesis import given
from hypothesis import strategies as st

from kdbench.reporting.alpha_sweep import AlphaSweep, find_alpha_sweeps
from kdbench.reporting.configurations import Choice
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.results.index import IndexCell


def _find_sweeps(builder):
    return list(find_alpha_sweeps(MatrixResults(builder.index, builder.frame, "last")))


def test_only_several_alphas_make_a_sweep(builder) -> None:
    for label, given_ in (
        ("swept", [{"alpha": 0.5}, {"alpha": 0.1}]),
        ("fixed", [{"alpha": 0.5, "t": 1}, {"alpha": 0.5, "t": 2}]),
        ("sum", [{"a.alpha": 0.1, "a.t": 1}, {"a.alpha": 0.2, "a.t": 1}]),
        ("text", [{"alpha": "auto"}, {"alpha": 0.5}]),
        ("alphabet", [{"alphabet": 1}, {"alphabet": 2}]),
        ("one", [{"alpha": 0.5}]),
    ):
        for hyperparameters in given_:
            builder.add(label, [0.5], hyperparameters=hyperparameters)
    assert [(sweep.label, sweep.alpha_name, sweep.alphas) for sweep in _find_sweeps(builder)] == [
        ("swept", "alpha", (0.1, 0.5)),
        ("sum", "a.alpha", (0.1, 0.2)),
    ]


def test_a_curve_has_the_other_hyperparameters_of_the_chosen_configuration(builder) -> None:
    for t, scores in ((2, (0.5, 0.6)), (5, (0.9, 0.7))):
        for alpha, score in zip((0.3, 0.1), scores, strict=True):
            builder.add("m", [0.5], [score], hyperparameters={"alpha": alpha, "t": t, "same": 1})
    (sweep,) = _find_sweeps(builder)
    assert {name: [cell.hyperparameters for cell in cells] for name, cells in sweep.curves.items()} == {
        "m": [{"alpha": 0.1, "t": 5, "same": 1}, {"alpha": 0.3, "t": 5, "same": 1}]
    }
    assert sweep.common_configuration == "same = 1"


def test_without_a_choice_every_group_is_a_curve(builder) -> None:
    builder.validation = 0.0
    for t in (2, 5):
        for alpha in (0.1, 0.3):
            builder.add("m", [0.5], hyperparameters={"alpha": alpha, "t": t})
    (sweep,) = _find_sweeps(builder)
    assert list(sweep.curves) == ["m (t = 2)", "m (t = 5)"]


def test_hyperparameters_that_change_with_alpha_make_one_curve(builder) -> None:
    for t, alpha in ((2, 0.1), (5, 0.3)):
        builder.add("m", [0.5], hyperparameters={"alpha": alpha, "t": t})
    (sweep,) = _find_sweeps(builder)
    assert [len(cells) for cells in sweep.curves.values()] == [2]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, unique=True))
def test_groups_have_every_configuration_once_in_ascending_alpha(configurations: list[tuple[int, int]]) -> None:
    cells = tuple(
        IndexCell("method", "m", "d", "t", "s", "m", {"alpha": alpha / 4, "t": t}, {}) for alpha, t in configurations
    )
    groups = AlphaSweep("m", Pair("d", "t", "s"), "alpha", ("t",), Choice(cells)).groups
    assert list(groups) == list(dict.fromkeys((str(t),) for _, t in configurations))
    assert sorted(map(id, cells)) == sorted(id(cell) for group in groups.values() for cell in group)
    for group in groups.values():
        alphas = [cell.hyperparameters["alpha"] for cell in group]
        assert alphas == sorted(alphas)
