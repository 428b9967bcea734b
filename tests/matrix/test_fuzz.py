"""A matrix with any content is either planned or refused with an error of one line.

`KDBENCH_FUZZ` sets the number of examples of each test; the long version is `scripts/stress`.
"""

import copy
import datetime
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from kdbench.cli.app import app
from kdbench.errors import MatrixError
from kdbench.hyperparameters import declared
from kdbench.matrix import load
from kdbench.matrix.reader import parse
from kdbench.methods import METHODS
from kdbench.plan import make_plan

EXAMPLES = int(os.environ.get("KDBENCH_FUZZ", "60"))
LONGEST = 1000  # characters of an error
PARAMETERS = {"method", "zip", *(name for method in METHODS.values() for name in declared(method))}

MATRIX = """
name = "fuzzed"
seeds = [0, 1]
datasets = ["digits", "mine"]
pairs = [{ teacher = "cnn_8_16", student = "mlp_16" }, { teacher = "wrn_10_1", student = "tiny", peers = ["mlp_8"] }]

[recipe]
epochs = 3
batch_size = 32
train_samples = 100
optimizer = { name = "sgd", lr = 0.1, momentum = 0.9 }
schedule = { name = "multistep", milestones = [1, 2], gamma = 0.2 }
augment = ["flip", { name = "translate", pixels = 1 }]
precision = "fp32"
grad_clip_norm = 1.0
early_stopping = { patience = 2 }

[recipe.teacher]
epochs = 2

[recipe.student]
batch_size = [16, 32]
grad_clip_norm = [1.0, 2.0]
zip = [["batch_size", "grad_clip_norm"]]

[protocol]
validation = 0.1
teacher_seed = "paired"
split_seed = "paired"
search_seeds = [100]

[methods.vanilla]
alpha = [0.1, 0.5]
temperature = [2, 4]
zip = [["alpha", "temperature"]]

[methods."triplet + vanilla"]
vanilla.temperature = 4

[methods.own]
method = ["rkd_d", "attention"]

[methods.dml]
recipe.optimizer.lr = [0.1, 0.2]
recipe.schedule = { name = "cosine", warmup = 1.0 }

[dataset.mine]
kind = "digits"
samples = 300

[network.tiny]
architecture = "mlp_8"

[[exclude]]
method = "dml"
student = "tiny"
seed = [1]
why = "slow"

[[override]]
when = { dataset = "mine", method = "vanilla" }
set = { recipe.epochs = 4, methods.vanilla.alpha = [0.2, 0.3] }

[run]
devices = "cpu"
workers = 1
"""

NAMES = sorted(
    {"name", "method", "zip", "recipe", "teacher", "student", "epochs", "alpha", "dataset", "when", "set", "extends"}
    | {"search_seeds", "refit", "split_seed", "student", "lr"}
    | {"vanilla", "scratch", "cosine", "adamw", "crop", "digits", "npz", "cifar10", "resnet20", "paired", "file", "why"}
    | {"timm:resnet18", "torchvision:nothing", "kdbench.methods:Missing", "no_such_module:Class", ":", "a:b:c", "a.b"}
)
WORDS = st.one_of(
    st.sampled_from(NAMES),
    st.text(max_size=12),
    st.text("\x00\x07\x1b\r\n\t\u202e\u2028/\\.[]{}$|<>`'\"é猫🐈", min_size=1, max_size=8),
)
NUMBERS = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([2**31 - 1, 2**31, -(2**63), 2**63 - 1, 2**63, 10**400]),
    st.floats(allow_nan=True, allow_infinity=True),
)
DATES = st.sampled_from([datetime.date(2024, 2, 29), datetime.time(1, 2), datetime.datetime(2024, 2, 29, 1, 2)])
LEAVES = st.one_of(WORDS, NUMBERS, st.booleans(), st.none(), DATES)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)


@st.composite
def deep(draw: st.DrawFn) -> Any:
    """A value at the bottom of many tables or lists."""
    value = draw(LEAVES)
    for _ in range(draw(st.integers(20, 200))):
        value = [value] if draw(st.booleans()) else {"a": value}
    return value


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A valid matrix, corrupted at one to three places."""
    raw = tomllib.loads(MATRIX)
    for _ in range(draw(st.integers(1, 3))):
        table, key = draw(st.sampled_from(places(raw)))
        match draw(st.sampled_from(["replace", "replace", "remove", "rename", "add"])):
            case "remove":
                del table[key]
            case "rename" if isinstance(table, dict):
                table[draw(WORDS)] = table.pop(key)
            case "add" if isinstance(table, dict):
                table[draw(WORDS)] = draw(VALUES)
            case "add":
                table.append(copy.deepcopy(table[key]))
            case _:
                table[key] = draw(VALUES | deep())
        if not raw:
            break
    return raw


NETWORKS = st.one_of(
    st.sampled_from(["resnet20", "resnet21", "vgg8", "resnet18", "cnn_", "mlp_0", "mlp_8_8", "mlp_99999999999"]),
    st.sampled_from(["wrn_16_0", "wrn_10_999", "timm:resnet18", "timm:", "torchvision:alexnet", "torchvision:os"]),
    WORDS,
)
CODE = st.sampled_from(
    ["math:pi", "json:dumps", "json:JSONDecoder", "collections:OrderedDict", "math", ":", "torch.nn:Module", "x:y"]
)
PATHS = st.sampled_from(["", ".", "nowhere", "\x00", "a" * 5000, "~no-such-user/x", "matrix.toml", "\ud800", "/proc/1"])
LIKELY: dict[tuple[str, ...], st.SearchStrategy[Any]] = {
    ("pairs",): st.lists(
        st.fixed_dictionaries(
            {"teacher": NETWORKS, "student": NETWORKS}, optional={"peers": st.lists(NETWORKS, max_size=2)}
        ),
        min_size=1,
        max_size=2,
    ),
    ("network", "tiny"): st.one_of(
        st.fixed_dictionaries({"architecture": NETWORKS}, optional={"weights": PATHS, "pretrained": st.booleans()}),
        st.fixed_dictionaries({"factory": CODE | WORDS}, optional={"weights": WORDS, "width": NUMBERS}),
    ),
    ("dataset", "mine"): st.fixed_dictionaries(
        {"kind": st.sampled_from(["digits", "npz", "parquet", "cifar10", "mnist", "uc_merced", "aid"])},
        optional={
            "root": PATHS,
            "samples": NUMBERS,
            "resize": NUMBERS,
            "grayscale": st.booleans() | WORDS,
            "image": WORDS,
        },
    ),
    ("recipe", "epochs"): NUMBERS,
    ("recipe", "batch_size"): NUMBERS,
    ("recipe", "train_samples"): NUMBERS,
    ("recipe", "precision"): st.sampled_from(["auto", "bf16", "fp32", "tf32", "fp16"]),
    ("protocol",): st.fixed_dictionaries(
        {}, optional={"validation": NUMBERS, "split_seed": NUMBERS, "teacher_seed": NUMBERS}
    ),
    ("seeds",): st.lists(NUMBERS, max_size=3),
    ("methods",): st.dictionaries(
        st.sampled_from(sorted(METHODS))
        | st.lists(st.sampled_from(sorted(METHODS)), max_size=3).map(" + ".join)
        | CODE,
        st.dictionaries(
            st.sampled_from(sorted(PARAMETERS)), VALUES | NUMBERS | st.lists(NUMBERS, max_size=3), max_size=3
        ),
        max_size=3,
    ),
    ("exclude",): st.lists(
        st.dictionaries(st.sampled_from(["method", "student", "dataset", "seed", "why"]), WORDS | NUMBERS)
    ),
}


@st.composite
def twisted(draw: st.DrawFn) -> dict[str, Any]:
    """A valid matrix with likely but mostly wrong values, most of which only a plan can refuse."""
    raw = tomllib.loads(MATRIX)
    for path in draw(st.lists(st.sampled_from(sorted(LIKELY)), min_size=1, max_size=3, unique=True)):
        table = raw
        for key in path[:-1]:
            table = table[key]
        table[path[-1]] = draw(LIKELY[path])
    if draw(st.booleans()):
        del raw["override"]
    return raw


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every key of every table and list of a matrix."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def garbled(draw: st.DrawFn) -> bytes:
    """The text of a valid matrix in which pieces are cut out, put in or doubled; not always UTF-8."""
    content = MATRIX.encode()
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        piece = draw(
            st.one_of(
                st.binary(max_size=6),
                VALUES.map(lambda value: repr(value).encode("utf-8", "surrogatepass")),
                st.just(content[start:end] * 2),
                st.sampled_from(
                    [b"[" * 300, b"{a=" * 300, b"9" * 5000, b"\xef\xbb\xbf", b"'''", b"1979-05-27T07:32:00Z"]
                ),
            )
        )
        content = content[:start] + piece + content[end:]
    return content


@pytest.fixture(autouse=True)
def an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Paths that a matrix makes up lead nowhere."""
    monkeypatch.chdir(tmp_path)


def fuzzed(test: Any) -> Any:
    """Settings with the number of examples of `KDBENCH_FUZZ`."""
    return settings(
        max_examples=EXAMPLES,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )(test)


def plan_or_error(action: Any) -> None:
    """Do something that may end in a MatrixError and in nothing else; its text is one printable line."""
    try:
        action()
    except MatrixError as error:
        message = str(error)
        assert message.isprintable()
        assert 10 < len(message) <= LONGEST


@pytest.mark.slow
def test_the_uncorrupted_matrix_can_be_planned() -> None:
    plan = make_plan(parse(tomllib.loads(MATRIX), "matrix.toml"), provisional=True)
    assert len(plan.runs) > 20


@pytest.mark.slow
@fuzzed
@given(raw=st.dictionaries(WORDS | st.sampled_from(["datasets", "pairs", "methods", "seeds", "run"]), VALUES | deep()))
def test_tables_of_any_values(raw: dict[str, Any]) -> None:
    plan_or_error(lambda: make_plan(parse(raw, "any.toml"), provisional=True))


@pytest.mark.slow
@fuzzed
@given(raw=mutated())
def test_a_matrix_corrupted_as_a_table(raw: dict[str, Any]) -> None:
    plan_or_error(lambda: make_plan(parse(raw, "corrupted.toml"), provisional=True))


@pytest.mark.slow
@fuzzed
@given(raw=twisted())
def test_a_matrix_of_likely_values(raw: dict[str, Any]) -> None:
    plan_or_error(lambda: make_plan(parse(raw, "twisted.toml"), provisional=True))


@pytest.mark.slow
@fuzzed
@given(content=garbled() | st.binary(max_size=200))
def test_a_matrix_corrupted_as_text(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "garbled.toml"
    file.write_bytes(content)
    plan_or_error(lambda: make_plan(load(file), provisional=True))


@settings(max_examples=max(10, EXAMPLES // 4), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=garbled())
def test_the_command_prints_one_line_and_no_traceback(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "garbled.toml"
    file.write_bytes(content)
    result = CliRunner().invoke(app, ["plan", str(file)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    if result.exit_code:
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: ")
        assert line.isprintable()
    else:
        assert " distilled, " in result.stdout


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ({"network": {"tiny": {"architecture": "mlp_8", "weights": "a" * 5000}}}, "'weights' cannot be read"),
        ({"network": {"tiny": {"architecture": "mlp_8", "weights": "~no-such-user/x"}}}, "'weights' cannot be read"),
        ({"dataset": {"mine": {"kind": "npz", "root": "a" * 5000}}}, "'root' cannot be read (File name too long)"),
        ({"dataset": {"mine": {"kind": "npz", "root": "~no-such-user/x"}}}, "'root' cannot be read"),
        ({"dataset": {"mine": {"kind": "npz", "root": "a\x00b"}}}, "'root' cannot be read (embedded null byte)"),
        ({"methods": {"a\x1b[31m": {}}}, "must be one line of printable characters, got 'a\\x1b[31m'"),
    ],
)
def test_errors_that_fuzzing_found(table: dict[str, Any], fault: str) -> None:
    with pytest.raises(MatrixError) as caught:
        make_plan(parse(tomllib.loads(MATRIX) | table, "found.toml"), provisional=True)
    assert fault in str(caught.value)
