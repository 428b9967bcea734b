"""The matrices that are part of kdbench."""

from pathlib import Path

import kdbench
from kdbench.errors import MatrixError, did_you_mean


def find_shipped(name: str) -> Path:
    """Return the file of a matrix that is part of kdbench, from the installed package or the checkout.

    Raises:
        MatrixError: there is no matrix of that name.
    """
    package = Path(kdbench.__file__).parent
    folders = [folder for folder in (package / "matrices", package.parent / "matrices") if folder.is_dir()]
    found = {file.stem: file for folder in reversed(folders) for file in folder.glob("*.toml")}
    if name not in found:
        raise MatrixError(f"kdbench has no matrix '{name}'; {did_you_mean(name, found)}")
    return found[name]
