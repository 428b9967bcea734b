"""A matrix or file from elsewhere runs only the code that it names, writes only to its folders, and is escaped."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import kdbench
from kdbench.cli.app import app
from kdbench.errors import MatrixError
from kdbench.matrix.reader import parse
from kdbench.plan import make_plan
from kdbench.reporting import write_report
from kdbench.results import Store

SOURCES = sorted(Path(kdbench.__file__).parent.rglob("*.py"))
UNSAFE_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "yaml",
    "jsonpickle",
}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "torch.jit.load"}
UNPACKING = {"extractall", "extract", "unpack_archive", "extract_archive", "download_and_extract_archive"}

MATRIX = """
name = "nasty"
datasets = ["digits"]
pairs = [{ teacher = "cnn_8_16", student = "mlp_16" }]

[recipe]
epochs = 1
batch_size = 32
train_samples = 100

[[exclude]]
method = "left out"
"""
NASTY = [
    r"\input{/etc/passwd}",
    "$x$ & y_z % #",
    "<script>alert(1)</script>",
    "[red]x[/red]",
    "a | b `c` *d*",
    "![a](http://b)",
    "{\N{CAT} 猫}",
    "../../up",
    "=HYPERLINK(1)",
]


def unsafe(tree: ast.AST) -> Iterator[str]:
    """Calls and imports in a source that could run the code of a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from (f"imports {name}" for name in named if name.split(".")[0] in UNSAFE_MODULES)
        if isinstance(node, ast.Call):
            yield from _unsafe_call(ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords})


def _unsafe_call(called: str, given_: dict[str | None, str]) -> Iterator[str]:
    if called in UNSAFE_CALLS:
        yield f"calls {called}"
    if called in ("torch.load", "load_state_dict_from_url") and given_.get("weights_only") != "True":
        yield f"calls {called} without weights_only=True"
    if called.endswith("get_state_dict") and given_.get("weights_only") != "True":
        yield f"calls {called} without weights_only=True"
    if given_.get("allow_pickle", "False") != "False" or given_.get("shell", "False") != "False":
        yield f"calls {called} with allow_pickle or shell"
    if called.rpartition(".")[2] in UNPACKING and "filter" not in given_:
        yield f"unpacks an archive with {called}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(SOURCES[0].parent).as_posix())
def test_kdbench_never_runs_the_code_of_a_file(file: Path) -> None:
    assert list(unsafe(ast.parse(file.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from yaml import load",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "eval(x)",
        "np.load(f, allow_pickle=True)",
        "subprocess.run(x, shell=True)",
        "tarfile.open(f).extractall(p)",
    ],
)
def test_unsafe_calls_are_recognized(code: str) -> None:
    assert len(list(unsafe(ast.parse(code)))) == 1


def test_weights_are_safetensors() -> None:
    """`torch.save` and `torch.load` belong to checkpoints, which one machine writes and reads again."""
    used = {
        file.relative_to(SOURCES[0].parent).as_posix()
        for file in SOURCES
        if re.search(r"torch\.(save|load)\(", file.read_text(encoding="utf-8"))
    }
    assert used == {"training/checkpoint.py"}


NAMES = st.text(max_size=30) | st.text("./\\\0~a-_\n", min_size=1, max_size=12)


@given(name=NAMES)
def test_the_name_of_a_matrix_cannot_escape_the_folder(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.getbasetemp()
    try:
        matrix = parse(tomllib.loads(MATRIX) | {"name": name}, "m.toml")
    except MatrixError:
        return
    for path in (root / f"{matrix.name}.json", root / matrix.name):
        assert path.resolve().parent == root.resolve()
        assert path.resolve() != root.resolve()


@pytest.mark.slow
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(NAMES | st.sampled_from(NASTY), min_size=1, max_size=3, unique=True))
def test_labels_are_escaped_in_reports(labels: list[str], tmp_path: Path) -> None:
    raw = tomllib.loads(MATRIX) | {"methods": {label: {"method": "vanilla"} for label in labels}}
    raw["exclude"] = [{"method": labels[0], "why": NASTY[len(labels)]}]
    try:
        plan = make_plan(parse(raw, "nasty.toml"), provisional=True)
    except MatrixError:
        return
    results, reports = tmp_path / "results", tmp_path / "reports"
    Store(results).write_index(plan.index())
    written = [path for report in write_report(results, reports) for path in report.paths]
    assert {path.relative_to(reports).parts[0] for path in written} == {"nasty"}
    assert all(re.fullmatch(r"nasty/(report\.md|tables/[a-z0-9-]+\.(tex|csv))", _below(reports, p)) for p in written)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["reports", "results"]
    for path in written:
        _assert_escaped(path)


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _assert_escaped(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".csv":  # data, word for word
        assert not {"\x1b", "\x07", "\x00"} & set(text)
    if path.suffix == ".tex":
        assert "\\input" not in text
        assert "$x$" not in text
        assert all(line.isprintable() for line in text.split("\n"))
    if path.suffix == ".md":
        assert not re.search(r"(?<!\\)<script", text)
        assert not re.search(r"(?<!\\)\[a\]\(http", text)


@pytest.mark.parametrize("label", NASTY)
def test_markup_is_escaped_in_the_terminal(label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quoted = label.replace("\\", "\\\\").replace('"', '\\"')
    Path("m.toml").write_text(f'{MATRIX}\n[methods."{quoted}"]\nmethod = "vanilla"\n', encoding="utf-8")
    shown = CliRunner().invoke(app, ["plan", "m.toml"])
    assert shown.exit_code == 0, shown.output
    assert label in shown.stdout
    assert "\x1b" not in shown.stdout


def test_the_error_of_a_run_is_escaped(tmp_path: Path) -> None:
    plan = make_plan(parse(tomllib.loads(MATRIX), "nasty.toml"), provisional=False)
    store, spec = Store(tmp_path), plan.runs[0]
    store.write_index(plan.index())
    store.write_spec(spec)
    error = "\x1b]0;title\x07\x1b[31m[red]boom[/red] \\input{x} <script>"
    store.write_result(spec.id, {"status": "failed", "error": error, "row": {}})
    shown = CliRunner().invoke(app, ["show", spec.id, "--results", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "[red]boom[/red]" in shown.stdout
    assert not {"\x1b", "\x07"} & set(shown.stdout)
    (report,) = write_report(tmp_path, tmp_path / "reports")
    for path in report.paths:
        _assert_escaped(path)


OWN = """
from typing import final
from kdbench.methods.offline import Offline
import kdbench

def make(num_classes, image_shape):
    return kdbench.models.build("mlp_16", num_classes=num_classes, image_shape=image_shape)

@final
class Own(Offline):
    def losses(self, student, teacher, batch):
        return {"own": (student.logits - teacher.logits).square().mean()}
"""


def test_plan_prints_the_code_that_a_matrix_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("own_code_of_a_user.py").write_text(OWN, encoding="utf-8")
    code: dict[str, Any] = {
        "methods": '[methods."own"]\nmethod = "own_code_of_a_user:Own"\n',
        "networks": '[network.mine]\nfactory = "own_code_of_a_user:make"\n',
    }
    text = MATRIX.replace('student = "mlp_16"', 'student = "mine"')
    Path("m.toml").write_text(text + "".join(code.values()), encoding="utf-8")
    shown = CliRunner().invoke(app, ["plan", "m.toml"])
    assert shown.exit_code == 0, shown.output
    assert "runs custom code: own_code_of_a_user:Own" in shown.stdout
    assert "runs custom code: own_code_of_a_user:make" in shown.stdout
