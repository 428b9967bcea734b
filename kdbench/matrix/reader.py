"""Reading of matrix files."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.errors import MatrixError, did_you_mean
from kdbench.matrix.merge import merge_tables
from kdbench.matrix.phases import check_protocol
from kdbench.matrix.schema import MatrixSpec
from kdbench.matrix.validation import MAX_DEPTH, check_plain, validate


def load(path: str | Path) -> MatrixSpec:
    """Read a matrix from a file, merged with the file that it `extends`.

    Raises:
        MatrixError: the file cannot be read, is not TOML, or violates the schema.
    """
    file = Path(path)
    raw = _read(file)
    base = raw.pop("extends", None)
    if base is not None:
        raw = merge_tables(_base(file, base), raw)
    raw.setdefault("name", file.stem)
    return parse(raw, str(file))


def parse(raw: Mapping[str, Any], file: str) -> MatrixSpec:
    """Return the matrix of plain data; error messages name `file`.

    Raises:
        MatrixError: the data violate the schema.
    """
    check_plain(raw, file)
    if "file" in raw:
        raise MatrixError(f"{file}: file: unknown key; {did_you_mean('file', set(MatrixSpec.model_fields) - {'file'})}")
    matrix = validate(MatrixSpec, {**raw, "file": file}, file, ())
    check_protocol(matrix)
    return matrix


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MatrixError(f"{file}: file not found; `kdbench init {file}` writes a commented example") from None
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"{file}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise MatrixError(f"{file}: must be UTF-8, got byte {error.object[error.start]:#04x}") from None
    except RecursionError:
        raise MatrixError(f"{file}: tables and lists must not be nested deeper than {MAX_DEPTH} levels") from None
    except OSError as error:
        raise MatrixError(f"{file}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # an integer of thousands of digits, a path that no system accepts
        raise MatrixError(f"{file}: cannot be read: {error}") from None
    check_plain(raw, str(file))
    return raw


def _base(file: Path, base: object) -> dict[str, Any]:
    if not isinstance(base, str):
        raise MatrixError(f"{file}: extends: must be the path of a TOML file, got {base!r}")
    raw = _read(file.parent / base)
    if "extends" in raw:
        raise MatrixError(
            f"{file}: extends: {base} extends another file too, but only one level is allowed; merge the two base files"
        )
    raw.pop("name", None)
    return raw
