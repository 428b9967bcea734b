"""A TOML file to a `Matrix`, with one clear error for whatever is wrong with it."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kdbench.errors import MatrixError, nearest
from kdbench.matrix.merge import merge
from kdbench.matrix.schema import Matrix

M = TypeVar("M", bound=BaseModel)

_PLAINER = {
    "model_type": "must be a table",
    "model_attributes_type": "must be a table or a name",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must be letters, digits, '.', '_' and '-' only, beginning with a letter or digit",
}


def load(path: str | Path) -> Matrix:
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


def parse(raw: Mapping[str, Any], file: str) -> Matrix:
    """The matrix of plain data; `file` is named in errors.

    Raises:
        MatrixError: the data break a rule of the schema.
    """
    if "file" in raw:
        raise MatrixError(f"{file}: file: unknown key; {nearest('file', set(Matrix.model_fields) - {'file'})}")
    return validated(Matrix, {**raw, "file": file}, file, ())


def validated(model: type[M], raw: Mapping[str, Any], file: str, where: tuple[str, ...]) -> M:
    """An instance of a model, or the first thing that is wrong, at its full key.

    Raises:
        MatrixError: with the file, the key's path, the rule, the value got and a remedy.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        explained = [_explain(model, dict(e), where) for e in error.errors(include_url=False)]
        raise MatrixError(f"{file}: {_alternatives(explained)}") from None
    except RecursionError:
        raise MatrixError(f"{file}: tables are nested too deeply") from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MatrixError(f"{file}: there is no such file; `kdbench init` writes a commented matrix") from None
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"{file}: not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise MatrixError(f"{file}: must be UTF-8, got byte {error.object[error.start]:#04x}") from None
    except RecursionError:
        raise MatrixError(f"{file}: tables are nested too deeply") from None
    except OSError as error:
        raise MatrixError(f"{file}: cannot be read: {error.strerror}") from None


def _base(file: Path, base: object) -> dict[str, Any]:
    if not isinstance(base, str):
        raise MatrixError(f"{file}: extends: must be the path of a TOML file, got {base!r}")
    raw = _read(file.parent / base)
    if "extends" in raw:
        raise MatrixError(f"{file}: extends: {base} extends another matrix itself; one level of inheritance is allowed")
    raw.pop("name", None)
    return raw


def _explain(model: type[BaseModel], error: Mapping[str, Any], where: tuple[str, ...]) -> str:
    location: Sequence[str | int] = error["loc"]
    path = _path([*where, *_walk(model, location)[0]])
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        parent = _walk(model, location[:-1])[1]
        return f"{path}: unknown key; {nearest(str(location[-1]), set(parent.model_fields) - {'file'})}"
    if kind == "missing":
        return f"{path}: this key must be given"
    if kind == "union_tag_invalid":
        names = [name.strip("' ") for name in context["expected_tags"].split(",")]
        return f"{path}: unknown name {context['tag']!r}; {nearest(context['tag'], names)}"
    if kind == "union_tag_not_found":
        return f"{path}: must have a key 'name', got {_shown(error['input'])}"
    if kind in ("too_short", "tuple_too_short"):
        return f"{path}: must have at least {context.get('min_length', 1)} value, got {_shown(error['input'])}"
    rule = _PLAINER.get(kind) or error["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    return f"{path}: {rule}, got {_shown(error['input'])}"


def _alternatives(explained: Sequence[str]) -> str:
    """The first error; where a key may have one of several types, what each of them asks."""
    path, got = explained[0].partition(": ")[0], explained[0].rpartition(", got ")[2]
    rules = [e[len(path) + 2 : -len(f", got {got}")] for e in explained if e.startswith(f"{path}: must be ")]
    if len(rules) < 2:
        return explained[0]
    return f"{path}: {rules[0]} or {' or '.join(r.removeprefix('must be ') for r in rules[1:])}, got {got}"


def _path(location: Sequence[str | int]) -> str:
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{key}" if text else key
    return text


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _walk(annotation: Any, location: Sequence[str | int]) -> tuple[list[str | int], Any]:
    """The keys of a location, without the names that pydantic puts in for the members of a union; and what is there."""
    shown: list[str | int] = []
    for step in location:
        annotation = _bare(annotation)
        if get_origin(annotation) in (Union, UnionType):
            annotation = next((m for m in map(_bare, get_args(annotation)) if _tag(m) == step), None)
            continue
        shown.append(step)
        if _is_model(annotation):
            field = annotation.model_fields.get(step)
            annotation = field.annotation if field else None
        else:
            inner = [a for a in get_args(annotation) if a is not Ellipsis]
            annotation = inner[-1] if inner else None
    return shown, _bare(annotation)


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(annotation: Any) -> object:
    field = annotation.model_fields.get("name") if _is_model(annotation) else None
    return field.default if field else None
