"""The project uses the words of the field: words that were replaced do not come back."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDERS = ("kdbench", "tests", "docs", "matrices", "benchmarks", "examples", "scripts")
FILES = ("README.md", "CONTRIBUTING.md")
SUFFIXES = {".py", ".md", ".toml", ".ipynb", ".sh", ""}

REPLACED = {
    "graduate": "deployed network",
    "graduates": "deployed",
    "optimiser": "optimizer",
    "optimisers": "optimizers",
    "optimise": "optimize",
    "optimises": "optimizes",
    "optimised": "optimized",
    "optimising": "optimizing",
    "optimisation": "optimization",
    "minimise": "minimize",
    "minimises": "minimizes",
    "maximise": "maximize",
    "initialise": "initialize",
    "initialised": "initialized",
    "initialisation": "initialization",
    "normalise": "normalize",
    "normalised": "normalized",
    "normalises": "normalizes",
    "normalisation": "normalization",
    "standardise": "standardize",
    "standardised": "standardized",
    "standardisation": "standardization",
    "regularise": "regularize",
    "regularisation": "regularization",
    "recognise": "recognize",
    "recognised": "recognized",
    "serialise": "serialize",
    "synchronise": "synchronize",
    "colour": "color",
    "colours": "colors",
    "behaviour": "behavior",
    "favour": "favor",
    "neighbour": "neighbor",
    "neighbours": "neighbors",
    "centre": "center",
    "centred": "centered",
    "grey": "gray",
    "OptimiserSpec": "OptimizerSpec",
    "PlayerOptimiser": "PlayerOptimizer",
    "replay_gigabytes": "teacher_cache_gb",
    "capturable": "cuda_graph_safe",
    "uncollected": "gc_paused",
    "Shelf": "LRUCache",
    "unkept": "partial_output",
    "UnkeptTensor": "MissingField",
    "UnkeptMaps": "MissingField",
    "CapturedTeacher": "GraphedTeacher",
    "OwnRandom": "IsolatedRNG",
    "only_lasting": "static_only",
    "spared_seconds": "saved_seconds",
    "soft_targets": "kd_loss",
    "nearest_negatives": "hardest_negatives",
    "softened_each": "per_sample_kd_loss",
    "Tapped": "HookedNetwork",
    "Heard": "Activations",
    "Impossible": "Incompatible",
    "Installed": "Registry",
    "fitted": "build_or_raise",
    "put_aside": "quarantine",
    "UNTOLD": "no default",
    "LEGACY_DEFAULTS": "no default",
    "humane": "format_bytes",
    "legible": "printable",
    "kin": "siblings",
    "lacking": "missing",
    "identifying": "identity_fields",
    "CohortRun": "CohortWorker",
    "OnRay": "RayExecutor",
    "_bury": "_reap",
    "_hand_out": "_dispatch",
    "damaged": "corrupted",
    "anew": "again",
    "listener": "on_event",
    "told": "message",
    "tells": "returns",
    "hears": "handles",
    "heard": "outputs",
    "remembered": "cached",
    "forgotten": "cleared",
    "Outline": "DatasetInfo",
    "Recorder": "GraphRecorder",
}
ALLOWED = {"capturable": re.compile(r"capturable=")}  # an argument of torch.optim.Adam
WORD = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, REPLACED))})(?![\w-])")


def replaced_words(text: str) -> list[tuple[int, str]]:
    """Line and word of every replaced word."""
    return [
        (number, match[1])
        for number, line in enumerate(text.splitlines(), start=1)
        for match in WORD.finditer(line)
        if not (match[1] in ALLOWED and ALLOWED[match[1]].match(line, match.start()))
    ]


def test_replaced_words_are_found() -> None:
    assert replaced_words("an optimizer\nthe optimiser, anew") == [(2, "optimiser"), (2, "anew")]
    assert replaced_words("Adam(capturable=True)\ncapturable = True") == [(2, "capturable")]


def test_no_replaced_word_is_left() -> None:
    paths = [ROOT / name for name in FILES]
    paths += [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.suffix in SUFFIXES]
    files = [path for path in paths if path.is_file() and path != Path(__file__) and "__pycache__" not in path.parts]
    found = [
        f"{path.relative_to(ROOT)}:{line}: '{word}'; write '{REPLACED[word]}'"
        for path in files
        for line, word in replaced_words(path.read_text(encoding="utf-8"))
    ]
    assert len(files) > 300
    assert not found, "\n" + "\n".join(found)
