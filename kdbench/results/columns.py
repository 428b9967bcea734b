"""The columns of `results.parquet`: one row per run. Further columns are `param.<name>` and `<metric>_best_test`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final


@final
@dataclass(frozen=True)
class Column:
    """An Arrow type and what the values mean, with their unit. Numbers are finite and from 0 to `highest`."""

    type: Literal["string", "int64", "double", "bool"]
    description: str
    highest: float = math.inf


METRICS: Mapping[str, str] = {
    "accuracy": "top-1 accuracy, from 0 to 1",
    "top5": "top-5 accuracy, from 0 to 1",
    "f1": "F1 score, macro average, from 0 to 1",
    "precision": "precision, macro average, from 0 to 1",
    "recall": "recall, macro average, from 0 to 1",
    "nll": "negative log-likelihood, in nats",
    "ece": "expected calibration error, from 0 to 1",
    "f1_weighted": "F1 score, average weighted by class size, from 0 to 1",
    "precision_weighted": "precision, average weighted by class size, from 0 to 1",
    "recall_weighted": "recall, average weighted by class size, from 0 to 1",
}

SEARCH_COLUMN = "val_accuracy"  # what chooses a configuration on the search seeds, whatever a report selects


def _metrics(suffix: str, epoch: str) -> dict[str, Column]:
    return {
        f"{split}_{metric}{suffix}": Column(
            "double", f"{images} {description}, with the weights of {epoch}", math.inf if metric == "nll" else 1
        )
        for split, images in (("val", "validation"), ("test", "test"))
        for metric, description in METRICS.items()
    }


COLUMNS: Mapping[str, Column] = {
    "run_id": Column("string", "id of the run, and the name of its folder"),
    "cell": Column("string", "id of the run without its seed"),
    "matrix": Column("string", "matrices that contain the run, separated by `; `"),
    "dataset": Column("string", "data set"),
    "teacher": Column("string", "network of the teacher; empty for methods without a teacher"),
    "student": Column("string", "network that was trained"),
    "method": Column("string", "method, or the methods of a sum joined by ` + `"),
    "label": Column("string", "labels of the run in its matrices, separated by `; `"),
    "phase": Column("string", "`report`, or `search` for a run that chooses a configuration; by matrix, as `label`"),
    "params": Column("string", "all hyperparameters, as JSON"),
    "seed": Column("int64", "seed of the initial weights and of the batches"),
    "recipe": Column("string", "complete recipe, with the values that a sweep gave it, as JSON"),
    "validation": Column("double", "fraction of the training images that is used for validation; 0 in a refit", 1),
    "split_seed": Column("int64", "seed of the split into training and validation images"),
    "needs": Column("string", "runs that had to finish first, as JSON: id of the run by role"),
    "status": Column("string", "`done`, `failed`, `running` or `pending`"),
    "error": Column("string", "error message of a failed run"),
    **_metrics("", "the last epoch"),
    **_metrics("_best", "the best validation epoch"),
    "teacher_agreement": Column(
        "double",
        "fraction of the test images on which the student and a teacher of the matrix agree, with the saved weights; "
        "empty if the method reads no such teacher",
        highest=1,
    ),
    "parameters": Column("int64", "parameters of the deployed network"),
    "parameters_training": Column("int64", "parameters of everything that was trained"),
    "flops": Column(
        "int64", "operations of the convolutions and matrix products for one image; a multiply-add counts as two"
    ),
    "architecture": Column(
        "string", "key of the deployed network's architecture, by which its inference time is found"
    ),
    "inference_ms": Column("double", "median time of a float32 forward pass at batch size 1, in ms"),
    "inference_ms_p95": Column("double", "95th percentile of the same, in ms"),
    "inference_ms_256": Column("double", "median time of a float32 forward pass at batch size 256, in ms"),
    "inference_ms_256_p95": Column("double", "95th percentile of the same, in ms"),
    "throughput": Column("double", "images per second at batch size 256"),
    "timing_processor": Column("string", "model of the CPU of the machine that timed the forward pass"),
    "timing_device": Column("string", "device that the forward pass was timed on: `cpu`, or the name of the GPU"),
    "timing_torch_version": Column("string", "version of torch that timed the forward pass"),
    "timing_threads": Column("int64", "CPU threads while the forward pass was timed"),
    "timing_precision": Column("string", "precision of the timed forward pass"),
    "timing_measured": Column("string", "time of the measurement, in UTC, ISO 8601"),
    "peak_memory_mb": Column(
        "double",
        "peak memory while the cohort trained, in MiB: of all its `cohort_size` runs together, not of this one; as "
        "allocated by torch on a GPU, else as resident in the process; empty where the system cannot measure it",
    ),
    "train_seconds": Column(
        "double",
        "time of the run's own steps, its batches and the teacher outputs that it reads, in seconds; what a cohort "
        "shares counts in full for each run, as if it were alone; the runs that it needs are not included",
    ),
    "epochs_run": Column("int64", "epochs that were trained"),
    "method_recipe": Column("string", "how the method itself deviates from the recipe; empty: it does not"),
    "steps": Column("int64", "batches that were trained on: `epochs_run` times batches per epoch"),
    "student_steps": Column("int64", "optimizer steps of the student; several per batch in some methods"),
    "best_epoch": Column("int64", "best epoch on validation, counted from 1; 0: the initial weights"),
    "kdbench_version": Column("string", "version of kdbench"),
    "numerics": Column("int64", "version of loop, data, networks and metrics; part of the run's id"),
    "git_commit": Column("string", "commit of kdbench's checkout, with `+` if files were changed"),
    "torch_version": Column("string", "version of torch"),
    "device": Column("string", "device that the run was trained on"),
    "processor": Column("string", "model of the CPU, or of the GPU if the run was trained on one"),
    "tf32": Column("bool", "whether TF32 was allowed in training"),
    "precision": Column("string", "precision in training: `bf16`, `fp32` or `tf32`; scores are computed in fp32"),
    "threads": Column("int64", "CPU threads of the worker"),
    "compile": Column("bool", "whether `torch.compile` was used"),
    "cuda_graphs": Column("bool", "whether steps were recorded as CUDA graphs"),
    "environment_changes": Column("string", "how the environment changed when the run was resumed; empty: it did not"),
    "cohort_size": Column("int64", "runs that were trained side by side; the most, if the run changed its cohort"),
    "attempts": Column("int64", "number of times that the training was started"),
    "host": Column("string", "name of the machine"),
    "started": Column("string", "start of the training, in UTC, ISO 8601"),
    "finished": Column("string", "end of the training, in UTC, ISO 8601"),
}

# Columns that no result.json has: they come from the spec, the matrices, the state of the run, or inference times.
DERIVED = frozenset(
    {
        *("run_id", "cell", "matrix", "dataset", "teacher", "student", "method", "label", "phase", "params", "seed"),
        *("recipe", "validation", "split_seed", "needs", "status", "error", "numerics", "architecture"),
        *(name for name in COLUMNS if name.startswith(("inference_ms", "timing_")) or name == "throughput"),
    }
)
