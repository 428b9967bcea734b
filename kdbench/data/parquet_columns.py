"""Find the columns of images and labels in the schema of a Parquet file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from kdbench.errors import DataError

LABEL_NAMES = ("label", "fine_label")


@final
@dataclass(frozen=True)
class Columns:
    """The names of the columns, and the names of the classes if the file states them."""

    image: str
    label: str
    class_names: tuple[str, ...] = ()


def find_columns(schema: Any, image: str | None = None, label: str | None = None) -> Columns:
    """Find the columns in a `pyarrow.Schema`; `image` and `label` name them explicitly.

    The images are the only column of encoded images: binary, or a struct with the field `bytes`. The labels are the
    only integer column with class names in the metadata of Hugging Face; if there is none, or more than one, the only
    one of them named `label` or `fine_label`.

    Raises:
        DataError: a named column does not exist, or not exactly one column fits.
    """
    names = _class_names(schema)
    integers = _integer_columns(schema)
    with_names = [name for name in integers if name in names]
    by_name = [name for name in with_names or integers if name in LABEL_NAMES]
    labels = by_name if len(by_name) == 1 or not with_names else with_names
    chosen = _choose(schema.names, label, labels, integers, "label", "integer labels")
    images = _image_columns(schema)
    return Columns(_choose(schema.names, image, images, [], "image", "encoded images"), chosen, names.get(chosen, ()))


def _choose(
    columns: Sequence[str], given: str | None, fitting: Sequence[str], others: Sequence[str], option: str, what: str
) -> str:
    if given is not None:
        if given not in columns:
            raise DataError(f"there is no column '{given}'; columns: {', '.join(columns)}; set the option '{option}'")
        return given
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(f"several columns may contain the {what}: {', '.join(fitting)}; set the option '{option}'")
    candidates = ", ".join(others or columns)
    raise DataError(f"no column of {what} was recognized among: {candidates}; set the option '{option}'")


def _image_columns(schema: Any) -> list[str]:
    import pyarrow as pa

    def is_binary(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    def has_bytes(kind: Any) -> bool:
        return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)

    return [field.name for field in schema if is_binary(field.type) or has_bytes(field.type)]


def _integer_columns(schema: Any) -> list[str]:
    import pyarrow as pa

    return [field.name for field in schema if pa.types.is_integer(field.type)]


def _class_names(schema: Any) -> dict[str, tuple[str, ...]]:
    """Return the class names by column, as the library `datasets` of Hugging Face stores them in the schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
