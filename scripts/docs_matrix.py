"""The keys of a matrix as Markdown, for scripts/docs: from the JSON schema of the pydantic models."""

from collections.abc import Iterator, Mapping
from typing import Any

from docs_markdown import escaped, one_line, shown, table

from kdbench.matrix import recipe, schema


def matrix_keys() -> str:
    """Return every table of a matrix with its keys."""
    matrix, training = schema.MatrixSpec.model_json_schema(), recipe.Recipe.model_json_schema()
    models = {**matrix["$defs"], **training["$defs"]}
    top = {key: value for key, value in matrix["properties"].items() if key != "file"}
    sections = [
        section("Top level", {**matrix, "properties": top}),
        section("`pairs`", models["Pair"]),
        section("`[recipe]`, `[recipe.teacher]`, `[recipe.student]`", training),
        *variants("optimizer", training, models),
        *variants("schedule", training, models),
        *variants("augment", training, models),
        section("`early_stopping`", models["EarlyStopping"], level=3),
        section("`[protocol]`", models["Protocol"]),
        section("`[dataset.NAME]`", models["DatasetTable"]),
        section("`[network.NAME]`", models["NetworkTable"]),
        section("`[[exclude]]`", models["Exclude"]),
        section("`[[override]]`", models["Override"]),
        section("`when`", models["Selector"], level=3),
        section("`[run]`", models["RunOptions"]),
    ]
    return "\n\n".join(sections)


def section(title: str, model: Mapping[str, Any], level: int = 2) -> str:
    """Return a heading, what the table is, and one row per key."""
    rows = [key_row(key, field, model) for key, field in model["properties"].items()]
    lead = escaped(one_line(model.get("description", "")))
    return "\n\n".join(
        filter(None, ("#" * level + f" {title}", lead, table(("key", "type", "default", "meaning"), rows)))
    )


def key_row(key: str, field: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a key with its type, default and meaning; a description may end with "Default: ..." instead of a value."""
    meaning, _, default = field.get("description", "").partition("Default: ")
    return (
        f"`{key}`",
        type_of(field),
        escaped(default) or default_of(key, field, model),
        escaped(meaning.strip().removesuffix(".")),
    )


def variants(key: str, training: Mapping[str, Any], models: Mapping[str, Any]) -> Iterator[str]:
    """Return what a key chooses from by `name`: one row each, with its own keys."""
    field = training["properties"][key]
    names = (field.get("items") or field)["discriminator"]["mapping"]
    rows = []
    for name, reference in names.items():
        model = models[reference.rpartition("/")[2]]
        keys = [
            f"`{own} = {shown(value.get('default'))}` {type_of(value)}"
            for own, value in model["properties"].items()
            if own != "name"
        ]
        rows.append((f"`{name}`", "<br>".join(keys), escaped(one_line(model["description"]))))
    yield f"### `{key}`\n\n" + table(("name", "keys and defaults", "meaning"), rows)


def type_of(field: Mapping[str, Any]) -> str:
    """Return the type of a key, with its bounds, as a reader of TOML would put it."""
    if "$ref" in field or field.get("type") == "object":
        return "table"
    if "const" in field:
        return f"`{shown(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{shown(value)}`" for value in field["enum"])
    if "oneOf" in field:
        return "name or table"
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(type_of(one) for one in field["anyOf"] if one.get("type") != "null"))
    if field["type"] == "array":
        inner = field.get("items") or field["prefixItems"][0]
        return f"list of {plural(type_of(inner))}"
    names = {"integer": "integer", "number": "number", "string": "string", "boolean": "boolean"}
    return " ".join(filter(None, (names[field["type"]], bounds(field))))


def plural(name: str) -> str:
    """Return the plural of a type's name."""
    word, _, rest = name.partition(" ")
    return " ".join(filter(None, (name if " or " in name else f"{word}s {rest}".strip(),)))


def bounds(field: Mapping[str, Any]) -> str:
    """Return the interval of a number; the limit of 32-bit integers is left out."""
    low = next(
        ((f"{sign} ", field[key]) for key, sign in (("minimum", "≥"), ("exclusiveMinimum", ">")) if key in field), None
    )
    high = next(
        ((f"{sign} ", field[key]) for key, sign in (("maximum", "≤"), ("exclusiveMaximum", "<")) if key in field), None
    )
    found = [bound for bound in (low, high) if bound is not None and bound[1] != 2**31]
    return ", ".join(f"{sign}{value:g}" for sign, value in found)


def default_of(key: str, field: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    """Return the default of a key."""
    if key in model.get("required", ()):
        return "required"
    default = field.get("default")
    if isinstance(default, dict):
        return f"`{shown(default['name'])}`" if "name" in default else ""
    return "none" if default in (None, "", [], ()) else f"`{shown(default)}`"
