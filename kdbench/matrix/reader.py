"""A TOML file to a `MatrixSpec`, with one clear error for whatever is wrong with it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.errors import MatrixError, did_you_mean
from kdbench.matrix.merge import merge
from kdbench.matrix.schema import MatrixSpec
from kdbench.matrix.validation import DEEPEST, check_plain, validated


def load(path: str | Path) -> MatrixSpec:
    """The matrix of a file, with the one that it extends merged in.

    Raises:
        MatrixError: the file cannot be read, is no TOML, or breaks a rule of the schema.
    """
    file = Path(path)
    raw = _read(file)
    base = raw.pop("extends", None)
    if base is not None:
        raw = merge(_base(file, base), raw)
    raw.setdefault("name", file.stem)
    return parse(raw, str(file))


def parse(raw: Mapping[str, Any], file: str) -> MatrixSpec:
    """The matrix of plain data; `file` is named in errors.

    Raises:
        MatrixError: the data break a rule of the schema.
    """
    check_plain(raw, file)
    if "file" in raw:
        raise MatrixError(f"{file}: file: unknown key; {did_you_mean('file', set(MatrixSpec.model_fields) - {'file'})}")
    return validated(MatrixSpec, {**raw, "file": file}, file, ())


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MatrixError(f"{file}: there is no such file; `kdbench init` writes a commented matrix") from None
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"{file}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise MatrixError(f"{file}: must be UTF-8, got byte {error.object[error.start]:#04x}") from None
    except RecursionError:
        raise MatrixError(f"{file}: tables and lists may be nested {DEEPEST} deep, not deeper") from None
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
        raise MatrixError(f"{file}: extends: {base} extends another matrix itself; one level of inheritance is allowed")
    raw.pop("name", None)
    return raw
