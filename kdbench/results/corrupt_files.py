"""Files that can be made again from the matrix or the machine: which of them are corrupted."""

from collections.abc import Iterator

from kdbench.errors import ResultsError
from kdbench.results.files import without_remedy
from kdbench.results.store import Store


def corrupted_indexes(store: Store) -> dict[str, str]:
    """The matrices whose file cannot be understood, and why; running such a matrix writes it anew."""
    found: dict[str, str] = {}
    for path in sorted(store.matrices.glob("*.json")):
        try:
            store.read_index(path.stem)
        except FileNotFoundError:
            continue
        except ResultsError as error:
            found[path.stem] = f"{' '.join(without_remedy(error).split())}; the next run of its matrix writes it anew"
    return found


def corrupted_timings(store: Store) -> Iterator[str]:
    """What is wrong with files of timings; a network whose timing cannot be read is timed again."""
    for path in sorted(store.timings.glob("*.json")):
        if store.timing(path.stem) is None and path.exists():
            yield f"{path}: corrupted; the network is timed again when its matrix is run"


def corrupt_files(store: Store) -> Iterator[str]:
    """Every corrupted file that the next run of its matrix makes anew."""
    yield from corrupted_indexes(store).values()
    yield from corrupted_timings(store)
