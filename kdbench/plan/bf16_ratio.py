"""The measured speed of bf16 on this processor, kept on disk: a second measurement could differ from the first."""

from contextlib import suppress
from functools import cache
from pathlib import Path

from kdbench.data.cache import cache_folder
from kdbench.errors import ResultsError, StorageError
from kdbench.results.files import read_json, write_json
from kdbench.results.hardware import cpu_model
from kdbench.results.provenance import installed_version
from kdbench.training.bf16_speed import measure_bf16_ratio


@cache
def cached_bf16_ratio() -> float:
    """Return the time of a bf16 convolution relative to float32, measured once per processor and version of torch.

    If the cache folder is not writable, it is measured in every process.
    """
    path = cache_folder() / "bf16.json"
    key, known = f"{cpu_model()}, torch {installed_version('torch')}", _read(path)
    if key not in known:
        known[key] = measure_bf16_ratio()
        with suppress(StorageError):
            write_json(path, known)
    return known[key]


def _read(path: Path) -> dict[str, float]:
    """Return the ratios in a file, without those that are not numbers."""
    try:
        return {key: value for key, value in read_json(path).items() if isinstance(value, float)}
    except (OSError, ResultsError, StorageError):
        return {}
