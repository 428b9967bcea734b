"""Golden numbers of short fp32 runs: every method, schedule, optimizer and augmentation, through the worker."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args, get_origin

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from kdbench.hyperparameters import declared
from kdbench.matrix import RunSpec, parse
from kdbench.matrix import recipe as recipes
from kdbench.methods import METHODS
from kdbench.plan import make_plan
from kdbench.results import Store
from kdbench.worker.cohort import CohortWorker

Values = dict[str, dict[str, list[float]]]  # by case and quantity

# a large weight decay and momentum, so that their use is visible after six steps
SGD = {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 0.05, "nesterov": True}
RECIPE: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "train_samples": 100,
    "precision": "fp32",
    "optimizer": SGD,
    "schedule": {"name": "cosine", "warmup": 0.5},
    "steps_per_epoch": 3,
}
PAIR = {"teacher": "cnn_4_8", "student": "cnn_4_4"}


def of_methods() -> Values:
    """Train every method, every mode of it, and a sum, with one pair of small convolutional networks."""
    tables = dict(_method_tables())
    plan = make_plan(parse(_matrix(tables), "golden.toml"))
    cells = {cell.label: cell for cell in plan.cells if cell.kind != "teacher"}
    runs = {label: _train(cell.first) for label, cell in cells.items()}
    incompatible = {cell.label: {"incompatible": [1.0]} for cell in plan.incompatible}
    return {f"method {label}": values for label, values in sorted({**runs, **incompatible}.items())}


def of_recipes() -> Values:
    """Train one network with every schedule, optimizer and augmentation, and with the other keys of a recipe."""
    found: Values = {}
    for case, change in _recipe_changes():
        plan = make_plan(parse(_matrix({}, {**RECIPE, "epochs": 4, **change}), "golden.toml"))
        (cell,) = [cell for cell in plan.cells if cell.kind == "scratch"]
        found[case] = _train(cell.first)
    return found


def _method_tables() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, method in METHODS.items():
        if name != "scratch":
            yield name, {}
        for key, parameter in declared(method).items():
            options = get_args(parameter.annotation) if get_origin(parameter.annotation) is Literal else ()
            for option in options:
                if option != parameter.default:
                    yield f"{name} {key}={option}", {"method": name, key: option}
    yield "triplet + vanilla", {"method": ["triplet", "vanilla"]}


def _recipe_changes() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in _names(recipes.Schedule):
        milestones = {"milestones": [1, 3]} if name == "multistep" else {}
        tight = {"patience": 0} if name == "plateau" else {}
        yield f"schedule {name}", {"schedule": {"name": name, "warmup": 1.5, **milestones, **tight}}
    for name in _names(recipes.Optimizer):
        yield f"optimizer {name}", {"optimizer": {"name": name, "lr": 0.01, "weight_decay": 0.05}}
    for name in _names(recipes.Augmentation):
        yield f"augment {name}", {"augment": [{"name": name}]}
    yield "momentum", {"schedule": {"name": "one_cycle", "cycle_momentum": True}}
    yield "clipping", {"grad_clip_norm": 0.5}


def _names(union: Any) -> list[str]:
    """Return the names of the tables of a union such as `Schedule`."""
    return [str(table.model_fields["name"].default) for table in get_args(get_args(union)[0])]


def _matrix(methods: Mapping[str, Any], recipe: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {
        "name": "golden",
        "seeds": [0],
        "datasets": ["digits"],
        "pairs": [PAIR],
        "recipe": {**RECIPE, **(recipe or {})},
        "methods": methods,
    }


def _train(spec: RunSpec) -> dict[str, list[float]]:
    with TemporaryDirectory(prefix="kdbench-golden-") as folder:
        store = Store(folder)
        for run in _in_order(spec):
            CohortWorker([run], store, torch.device("cpu"), lambda _: None).train()
            result = store.result(run.id) or {}
            if result.get("status") != "done":
                raise RuntimeError(f"{run.method} failed: {result.get('error')}")
        return _values(store.folder(spec.id), result["row"])


def _in_order(spec: RunSpec) -> list[RunSpec]:
    """Return the runs that a run needs, then the run itself, each once."""
    runs: dict[str, RunSpec] = {}
    for _, need in spec.needs:
        runs |= {run.id: run for run in _in_order(need)}
    return [*runs.values(), spec]


def _values(folder: Path, row: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the losses and learning rates of each epoch, the scores that rounding does not change, and some logits."""
    epochs = pq.read_table(folder / "history.parquet").to_pylist()
    names = [name for name in epochs[0] if name.startswith("loss") or name in ("lr", "val_nll")]
    found = {name: [float(epoch[name]) for epoch in epochs if epoch[name] is not None] for name in names}
    found["nll"] = [float(row[name]) for name in ("val_nll", "test_nll") if row.get(name) is not None]
    found["counts"] = [float(row[name]) for name in ("steps", "parameters", "parameters_training", "flops")]
    found["logits"] = load_file(folder / "weights.safetensors")["probe_logits"][:2].flatten().tolist()
    return {name: values for name, values in found.items() if values}
