import json
import re
from typing import Any

import pyarrow as pa
import pytest

from kdbench.data.parquet_columns import Columns, find_columns
from kdbench.errors import DataError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
Fields = dict[str, pa.DataType]


def make_schema(fields: Fields, class_names: dict[str, list[str]] | None = None) -> pa.Schema:
    """Return a schema with the metadata that the library `datasets` of Hugging Face writes."""
    features: dict[str, Any] = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in fields.items()}
    features |= {name: {"names": names, "_type": "ClassLabel"} for name, names in (class_names or {}).items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(list(fields.items()), metadata=metadata)


@pytest.mark.parametrize("image", [IMAGE, pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.large_binary())])])
@pytest.mark.parametrize("label", [pa.int64(), pa.uint8()])
def test_the_only_columns_that_fit_are_found(image: pa.DataType, label: pa.DataType) -> None:
    fields = {"index": pa.int64(), "picture": image, "species": label, "caption": pa.string(), "box": pa.list_(label)}
    found = find_columns(make_schema(fields, {"species": ["cat", "dog"]}))
    assert found == Columns("picture", "species", ("cat", "dog"))


@pytest.mark.parametrize("name", ["label", "fine_label"])
def test_without_class_names_the_label_is_found_by_its_name(name: str) -> None:
    fields = {"id": pa.int64(), "img": IMAGE, name: pa.int64(), "coarse_label": pa.int64()}
    for schema in (make_schema(fields), pa.schema(list(fields.items()))):
        assert find_columns(schema) == Columns("img", name)


def test_of_two_columns_with_class_names_the_known_name_is_the_label() -> None:
    names = {"fine_label": ["apple", "bear"], "coarse_label": ["fruit", "animal"]}
    schema = make_schema({"img": IMAGE, "fine_label": pa.int64(), "coarse_label": pa.int64()}, names)
    assert find_columns(schema) == Columns("img", "fine_label", ("apple", "bear"))


def test_class_names_precede_the_name_of_the_column() -> None:
    schema = make_schema({"img": IMAGE, "label": pa.int64(), "species": pa.int64()}, {"species": ["cat", "dog"]})
    assert find_columns(schema).label == "species"


def test_class_names_of_a_column_that_is_no_integer_are_ignored() -> None:
    schema = make_schema({"img": IMAGE, "text": pa.string(), "label": pa.int64()}, {"text": ["cat", "dog"]})
    assert find_columns(schema) == Columns("img", "label")


def test_named_columns_are_used() -> None:
    fields = {"front": IMAGE, "back": IMAGE, "label": pa.int64(), "age": pa.int32()}
    schema = make_schema(fields, {"label": ["cat", "dog"]})
    assert find_columns(schema, image="back", label="age") == Columns("back", "age")
    assert find_columns(schema, image="front") == Columns("front", "label", ("cat", "dog"))


@pytest.mark.parametrize(
    ("fields", "class_names", "message"),
    [
        (
            {"front": IMAGE, "back": pa.binary(), "label": pa.int64()},
            {},
            "several columns may contain the encoded images: front, back; set the option 'image'",
        ),
        (
            {"img": IMAGE, "animal": pa.int64(), "color": pa.int64()},
            {"animal": ["cat", "dog"], "color": ["black", "white"]},
            "several columns may contain the integer labels: animal, color; set the option 'label'",
        ),
        (
            {"img": IMAGE, "label": pa.int64(), "fine_label": pa.int64()},
            {},
            "several columns may contain the integer labels: label, fine_label; set the option 'label'",
        ),
        (
            {"img": IMAGE, "caption": pa.string(), "x": pa.int64(), "y": pa.int32()},
            {},
            "no column of integer labels was recognized among: x, y; set the option 'label'",
        ),
        (
            {"url": pa.string(), "label": pa.int64()},
            {},
            "no column of encoded images was recognized among: url, label; set the option 'image'",
        ),
    ],
)
def test_columns_that_are_not_unique_raise_with_the_candidates_and_the_option(
    fields: Fields, class_names: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        find_columns(make_schema(fields, class_names))


@pytest.mark.parametrize("option", ["image", "label"])
def test_a_named_column_must_exist(option: str) -> None:
    schema = make_schema({"img": IMAGE, "label": pa.int64()})
    with pytest.raises(DataError, match=f"there is no column 'x'; columns: img, label; set the option '{option}'"):
        find_columns(schema, **{option: "x"})


@pytest.mark.parametrize(
    "metadata", [b"", b"[]", b'{"info": {"features": null}}', b'{"info": {"features": {"label": 1}}}']
)
def test_unexpected_metadata_are_ignored(metadata: bytes) -> None:
    schema = pa.schema([("img", IMAGE), ("label", pa.int64())], metadata={b"huggingface": metadata})
    assert find_columns(schema) == Columns("img", "label")
