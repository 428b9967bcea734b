from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from kdbench.matrix.identity import Since, canonical, digest
from kdbench.matrix.recipe import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    Crop,
    Flip,
    MultiStep,
    OneCycle,
    Plateau,
    Recipe,
    Sgd,
    TomlTable,
    Translate,
)


def recipe(**keys: Any) -> Recipe:
    return Recipe.model_validate(keys)


@pytest.mark.parametrize(
    ("key", "name", "value"),
    [
        ("optimizer", "sgd", Sgd()),
        ("optimizer", "adam", Adam()),
        ("optimizer", "adamw", AdamW()),
        ("schedule", "constant", Constant()),
        ("schedule", "multistep", MultiStep()),
        ("schedule", "cosine", Cosine()),
        ("schedule", "one_cycle", OneCycle()),
        ("schedule", "plateau", Plateau()),
    ],
)
def test_a_name_is_short_for_a_table(key: str, name: str, value: TomlTable) -> None:
    assert getattr(recipe(**{key: name}), key) == getattr(recipe(**{key: {"name": name}}), key) == value


def test_a_list_of_names_and_tables() -> None:
    found = recipe(augment=["crop", {"name": "flip", "probability": 1}, "translate"], strong_augment=["flip"])
    assert found.augment == (Crop(), Flip(probability=1.0), Translate())
    assert found.strong_augment == (Flip(),)


def test_an_empty_recipe_is_all_defaults() -> None:
    found = recipe()
    assert found == Recipe()
    assert (found.epochs, found.batch_size, found.optimizer, found.schedule) == (100, 128, Sgd(), Cosine())
    assert (found.augment, found.precision, found.grad_clip_norm, found.early_stopping) == ((), "auto", None, None)


@pytest.mark.parametrize(
    "keys",
    [
        {"optimizer": {"name": "sgd", "betas": [0.9, 0.99]}},
        {"optimizer": {"name": "adam", "nesterov": True}},
        {"schedule": {"name": "cosine", "milestones": [1]}},
        {"optimizer": "rmsprop"},
        {"augment": ["mixup"]},
        {"epochs": 1.5},
        {"epochs": True},
        {"batch_size": 2**31},
        {"optimizer": {"name": "sgd", "momentum": 1}},
        {"schedule": {"name": "multistep", "gamma": 0}},
        {"schedule": {"name": "one_cycle", "base_momentum": 0.8}},
        {"schedule": {"name": "one_cycle", "cycle_momentum": True, "base_momentum": 0.9, "max_momentum": 0.8}},
        {"monitor": "nll"},
        {"precision": "fp16"},
    ],
)
def test_values_that_a_recipe_refuses(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        recipe(**keys)
    assert caught.value.errors()[0]["loc"][0] == next(iter(keys))


RECIPES = st.builds(
    Recipe,
    epochs=st.integers(1, 500),
    optimizer=st.sampled_from([Sgd(), Sgd(lr=1), Adam(betas=(0, 0.5)), AdamW()]),
    schedule=st.sampled_from(
        [Cosine(), MultiStep(milestones=(1, 2.5)), Plateau(), OneCycle(cycle_momentum=True, base_momentum=0.8)]
    ),
    augment=st.lists(st.sampled_from([Crop(), Flip(probability=1), Translate()]), max_size=2).map(tuple),
    grad_clip_norm=st.none() | st.floats(0.1, 10),
)


@given(RECIPES)
def test_the_identity_is_that_of_the_plain_data(found: Recipe) -> None:
    assert found.canonical == canonical(found.model_dump(mode="json"))
    assert Recipe.model_validate(found.model_dump(mode="json")).canonical == found.canonical


@given(RECIPES, RECIPES)
def test_recipes_are_equal_if_their_identities_are(one: Recipe, other: Recipe) -> None:
    assert (one == other) == (one.canonical == other.canonical)


def test_integers_and_floats_are_one_value() -> None:
    assert (
        recipe(optimizer={"name": "sgd", "lr": 1}).canonical == recipe(optimizer={"name": "sgd", "lr": 1.0}).canonical
    )


class Inner(TomlTable):
    old: int = 1


class NewInner(TomlTable):
    old: int = 1
    added: Annotated[float, Since("0.2")] = 0.5


class Old(TomlTable):
    inner: Inner = Inner()
    many: tuple[Inner, ...] = (Inner(),)


class New(TomlTable):
    inner: NewInner = NewInner()
    many: tuple[NewInner, ...] = (NewInner(),)
    added: Annotated[int | None, Since("0.3")] = None


def test_a_field_of_a_later_version_is_left_out_while_it_holds_its_default() -> None:
    assert New().canonical == Old().canonical
    for changed in (New(added=1), New(inner=NewInner(added=0.1)), New(many=(NewInner(added=0.1),))):
        assert changed.canonical != Old().canonical
        assert "added" in changed.canonical


def test_canonical_json() -> None:
    assert canonical({"b": [1, 1.0, None, True], "a": "é"}) == '{"a":"é","b":[1,1.0,null,true]}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(float("nan"))


def test_a_digest_is_the_start_of_a_sha256() -> None:
    assert digest("abc") == "ba7816bf8f01cfea"


def test_a_table_without_a_name_is_one_of_the_default() -> None:
    recipe = Recipe.model_validate({"optimizer": {"lr": 0.3}, "schedule": {"warmup": 2.0}})
    assert recipe == Recipe(optimizer=Sgd(lr=0.3), schedule=Cosine(warmup=2.0))
