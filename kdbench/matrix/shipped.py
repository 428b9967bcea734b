"""The matrices that come with kdbench."""

from pathlib import Path

import kdbench
from kdbench.errors import MatrixError, did_you_mean


def shipped(name: str) -> Path:
    """The file of a matrix that comes with kdbench: in the installed package, or in a checkout beside it.

    Raises:
        MatrixError: there is none of that name.
    """
    package = Path(kdbench.__file__).parent
    folders = [folder for folder in (package / "matrices", package.parent / "matrices") if folder.is_dir()]
    found = {file.stem: file for folder in reversed(folders) for file in folder.glob("*.toml")}
    if name not in found:
        raise MatrixError(f"no matrix '{name}' comes with kdbench; {did_you_mean(name, found)}")
    return found[name]
