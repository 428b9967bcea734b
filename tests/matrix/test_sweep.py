import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.errors import MatrixError
from kdbench.matrix.sweep import configurations, part_names


def never(part: str, key: str) -> bool:
    return False


def swept(
    table: dict[str, Any], label: str = "vanilla", recipe: dict[str, Any] | None = None
) -> list[dict[str, dict[str, Any]]]:
    return [
        {part: values for part, values in one.items() if part != "recipe"}
        for one in configurations(label, table, never, recipe or {})
    ]


def test_no_key_is_one_configuration() -> None:
    assert swept({}) == [{"vanilla": {}}]


def test_the_last_key_varies_fastest() -> None:
    found = swept({"alpha": [0.1, 0.9], "temperature": [4, 2], "extra": 1})
    assert [(s["vanilla"]["alpha"], s["vanilla"]["temperature"]) for s in found] == [
        (0.1, 4),
        (0.1, 2),
        (0.9, 4),
        (0.9, 2),
    ]
    assert {s["vanilla"]["extra"] for s in found} == {1}


VALUES = st.lists(st.integers(), min_size=1, max_size=3, unique=True)


@given(st.dictionaries(st.text(min_size=1, max_size=3), VALUES, max_size=3))
def test_a_sweep_is_the_product_of_its_lists(lists: dict[str, list[int]]) -> None:
    table = {key: values for key, values in lists.items() if key not in ("zip", "method", "vanilla")}
    rows = [dict(zip(table, row, strict=True)) for row in itertools.product(*table.values())]
    assert swept(table) == [{"vanilla": row} for row in rows]


def test_zip_sweeps_keys_together() -> None:
    found = swept({"a": [1, 2], "b": [3, 4], "c": [5, 6], "zip": [["a", "c"]]})
    assert [s["vanilla"] for s in found] == [
        {"a": 1, "c": 5, "b": 3},
        {"a": 1, "c": 5, "b": 4},
        {"a": 2, "c": 6, "b": 3},
        {"a": 2, "c": 6, "b": 4},
    ]


def test_zipped_keys_may_repeat_a_value_but_no_row() -> None:
    found = swept({"a": [1, 1, 2], "b": [3, 4, 4], "zip": [["a", "b"]]})
    assert [tuple(s["vanilla"].values()) for s in found] == [(1, 3), (1, 4), (2, 4)]
    with pytest.raises(MatrixError, match=r"^methods\.vanilla\.a, b: must not repeat a value, got 1, 3 twice$"):
        swept({"a": [1, 2, 1], "b": [3, 4, 3], "zip": [["a", "b"]]})


def test_a_list_by_type_is_swept_by_a_list_of_lists() -> None:
    def is_list(part: str, key: str) -> bool:
        return (part, key) == ("hints", "layers")

    def layers(value: object) -> list[object]:
        return [s["hints"]["layers"] for s in configurations("hints", {"layers": value}, is_list, {})]

    assert layers([1, 2]) == [[1, 2]]
    assert layers([[1, 2], [3]]) == [[1, 2], [3]]
    assert layers([]) == [[]]
    assert layers([[1], 2]) == [[[1], 2]]
    assert layers([[], [1]]) == [[], [1]]


def test_the_tables_of_a_sum() -> None:
    table = {
        "vanilla": {"alpha": [0.1, 0.9]},
        "triplet": {"margin": [1, 2]},
        "zip": [["vanilla.alpha", "triplet.margin"]],
    }
    assert swept(table, "triplet + vanilla") == [
        {"triplet": {"margin": 1}, "vanilla": {"alpha": 0.1}},
        {"triplet": {"margin": 2}, "vanilla": {"alpha": 0.9}},
    ]
    assert swept({"method": ["triplet", "vanilla"]}, "any label") == [{"triplet": {}, "vanilla": {}}]


def test_a_part_may_have_a_dotted_name() -> None:
    table = {"method": ["my.nets:Own", "vanilla"], "my.nets:Own": {"w": [1, 2]}, "zip": [["my.nets:Own.w"]]}
    assert swept(table, "x") == [{"my.nets:Own": {"w": 1}, "vanilla": {}}, {"my.nets:Own": {"w": 2}, "vanilla": {}}]


@pytest.mark.parametrize(
    ("label", "table", "names"),
    [
        ("vanilla", {}, ("vanilla",)),
        ("triplet + vanilla", {}, ("triplet", "vanilla")),
        ("triplet+vanilla", {}, ("triplet", "vanilla")),
        ("HKD", {"method": "vanilla"}, ("vanilla",)),
        ("a + b", {"method": ["vanilla"]}, ("vanilla",)),
    ],
)
def test_the_methods_of_a_label(label: str, table: dict[str, Any], names: tuple[str, ...]) -> None:
    assert part_names(label, table) == names


SUM = {"method": ["triplet", "vanilla"]}
WRONG = [
    ("alpha: must have at least 1 value, got []; give a value or remove the key", {"alpha": []}),
    ("alpha: must not repeat a value, got 0.5 twice", {"alpha": [0.1, 0.5, 0.5]}),
    ("alpha: must not repeat a value, got 1.0 twice", {"alpha": [1, 1.0]}),
    ("alpha: given twice, here and as vanilla.alpha; remove one", {"vanilla": {"alpha": 1}, "alpha": 2}),
    (
        "zip: keys of a group must have lists of equal length; a has 3, b has 2",
        {"a": [1, 2, 3], "b": [1, 2], "zip": [["a", "b"]]},
    ),
    (
        "zip: keys of a group must have lists of equal length; a has 2, b has 1",
        {"a": [1, 2], "b": 1, "zip": [["a", "b"]]},
    ),
    ("zip: unknown key 'c'; valid: a, b", {"a": [1], "b": [2], "zip": [["a", "c"]]}),
    ("zip: unknown key 'a'; valid: none", {"zip": [["a"]]}),
    (
        "zip: unknown key 'alpha'; valid: vanilla.alpha",
        SUM | {"vanilla": {"alpha": [1]}, "zip": [["alpha"]]},
    ),
    ("zip: must not repeat a key, got 'b' twice", {"a": [1], "b": [2], "zip": [["a", "b"], ["b"]]}),
    ("zip: must not repeat a key, got 'a' twice", {"a": [1], "zip": [["a", "a"]]}),
    *(
        (f'zip: must be a list of lists of keys, like [["alpha", "temperature"]], got {zipped!r}', {"zip": zipped})
        for zipped in ("a", ["a", "b"], [[]], {"a": "b"}, 3)
    ),
    ("margin: the method of this key is ambiguous; write triplet.margin or vanilla.margin", SUM | {"margin": 1}),
    ("vanilla: the method of this key is ambiguous; write triplet.vanilla or vanilla.vanilla", SUM | {"vanilla": 3}),
    ("method: must not repeat a method, got ['a', 'a']", {"method": ["a", "a"]}),
    *(
        (f"method: must be a method's name or a list of them, got {named!r}", {"method": named})
        for named in (3, [], [""], ["a", 3], "", {"a": 1})
    ),
]


@pytest.mark.parametrize(("message", "table"), WRONG, ids=[message for message, _ in WRONG])
def test_a_table_that_is_refused(message: str, table: dict[str, Any]) -> None:
    with pytest.raises(MatrixError) as caught:
        swept(table)
    assert str(caught.value) == f"methods.vanilla.{message}"


def test_a_label_without_a_method() -> None:
    with pytest.raises(MatrixError, match=r"^methods\.a \+\.method: must be a method's name .* got \['a', ''\]$"):
        part_names("a +", {})
