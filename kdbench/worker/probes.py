"""The logits of a trained network on a few test images, by which a later load is compared with the training."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from kdbench.matrix import RunSpec
from kdbench.numerics import NUMERICS
from kdbench.results.provenance import provenance
from kdbench.training.evaluation import compute_logits
from kdbench.worker.cohort_data import ImageSplit

PROBES = 64  # the first test images, or all if there are fewer
PROBE_LOGITS = "probe_logits"  # name of the logits (N, K) in the file of the weights
TOLERANCE = 1e-3  # of the largest logit, or of 1; devices differ by about 1e-5 in float32, other code by far more


def probe_logits(network: nn.Module, test: ImageSplit) -> Tensor:
    """Return the logits (N, K) of the first test images in eval mode and in float32."""
    probes = ImageSplit(test.images[:PROBES], test.labels[:PROBES], test.mean, test.std)
    return compute_logits(network, probes.batches())


def logits_difference(found: Tensor, expected: Tensor | None) -> str | None:
    """Return how logits (N, K) of a loaded network differ from those at the end of its training, or None."""
    if expected is None:
        return "its file has no logits to compare with"
    if found.shape != expected.shape:
        return f"its logits have the shape {tuple(found.shape)} instead of {tuple(expected.shape)}"
    allowed = TOLERANCE * max(1.0, float(expected.abs().max()))
    largest = float((found - expected).abs().max())
    if largest <= allowed:  # false for NaN
        return None
    return f"its logits of {len(found)} test images differ by up to {largest:.3g}, and {allowed:.3g} is allowed"


def describe_mismatch(spec: RunSpec, row: Mapping[str, Any], folder: object, difference: str) -> str:
    """Return the text of the error for a trained network whose code or environment has changed since its training."""
    trained = describe_version({**row, "numerics": spec.numerics})
    current = describe_version({**provenance(), "numerics": NUMERICS})
    return (
        f"the trained network of the run {spec.id} ({spec.student.name}) is no longer the one that was trained: "
        f"{difference}; it was trained with {trained}, and this is {current}; use that version again, or move the "
        f"folder {folder} elsewhere to train the network again, then run `kdbench retry` and the matrix again"
    )


def describe_version(values: Mapping[str, Any]) -> str:
    """Return the versions of kdbench, its numbers and torch as one phrase."""
    commit = f" ({values['git_commit']})" if values.get("git_commit") else ""
    return (
        f"kdbench {values.get('kdbench_version')}{commit}, NUMERICS {values.get('numerics')}, "
        f"torch {values.get('torch_version')}"
    )
