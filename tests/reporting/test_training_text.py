"""A training in a few words, and how two differ."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kdbench.matrix.recipe import (
    Adam,
    AdamW,
    Constant,
    Cosine,
    Crop,
    EarlyStopping,
    Flip,
    MultiStep,
    OneCycle,
    Plateau,
    Recipe,
    Sgd,
    Translate,
)
from kdbench.reporting.training_text import HIDDEN, describe_difference, describe_recipe
from kdbench.results import Training

FLIPS = st.lists(st.sampled_from([Crop(), Crop(padding=2), Flip(), Translate()]), max_size=2).map(tuple)
RECIPES = st.builds(
    Recipe,
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 2),
    optimizer=st.sampled_from([Sgd(), Sgd(lr=0.2), Sgd(nesterov=True), Adam(), AdamW(), AdamW(betas=(0.5, 0.9))]),
    schedule=st.sampled_from([Constant(), Cosine(), Cosine(warmup=2.0), MultiStep(), OneCycle(), Plateau(patience=3)]),
    augment=FLIPS,
    strong_augment=FLIPS,
    precision=st.sampled_from(["bf16", "fp32"]),
    grad_clip_norm=st.none() | st.just(5.0),
    early_stopping=st.none() | st.builds(EarlyStopping, patience=st.integers(1, 3)),
    steps_per_epoch=st.none() | st.just(7),
)
TRAININGS = st.builds(
    lambda recipe, **more: Training(recipe.model_dump(mode="json"), **more),
    RECIPES,
    train_images=st.integers(1, 2),
    validation_images=st.integers(0, 1),
    available_images=st.just(9),
    test_images=st.just(5),
    steps=st.integers(1, 3),
    reads_images=st.booleans(),
    views=st.integers(1, 2),
    initial_weights=st.sampled_from(["", "pretrained", "a.safetensors"]),
)


def _training(recipe: Recipe | None = None, **changes: int) -> Training:
    sizes = {"train_images": 1000, "validation_images": 100, "available_images": 1100, "test_images": 500, "steps": 90}
    return Training((recipe or Recipe(epochs=3)).model_dump(mode="json"), **{**sizes, **changes})


def _difference(first: Recipe, second: Recipe, **changes: int) -> tuple[str, str]:
    return describe_difference(_training(first, **changes), _training(second))


def test_more_epochs() -> None:
    found = _difference(Recipe(epochs=60), Recipe(epochs=3), steps=1800)
    assert found == ("60 epochs", "3 epochs")  # the steps follow from the epochs


def test_other_images_and_augmentation() -> None:
    teacher = Recipe(epochs=15, batch_size=64, optimizer=AdamW(lr=3e-3), augment=(Translate(),))
    student = Recipe(epochs=50, batch_size=32, optimizer=AdamW(lr=1e-2))
    found = describe_difference(_training(teacher, steps=225), _training(student, train_images=200, steps=300))
    assert found == (
        "1,000 images, 15 epochs, batch size 64, lr 0.003, translate (pixels 1), 225 optimizer steps",
        "200 images, 50 epochs, batch size 32, lr 0.01, no augmentation, 300 optimizer steps",
    )


def test_another_optimizer_and_schedule_are_described_as_a_whole() -> None:
    assert _difference(Recipe(optimizer=Adam()), Recipe(schedule=Plateau())) == (
        "adam (lr 0.001, weight_decay 0), cosine schedule",
        "sgd (lr 0.1, momentum 0.9, weight_decay 0.0005), plateau schedule (factor 0.5, patience 2)",
    )


def test_fields_of_the_same_schedule() -> None:
    assert _difference(Recipe(schedule=Cosine(warmup=5.0)), Recipe()) == ("schedule.warmup 5", "schedule.warmup 0")


def test_options_that_one_of_them_has() -> None:
    assert _difference(Recipe(early_stopping=EarlyStopping(), grad_clip_norm=5.0), Recipe()) == (
        "gradient norm at most 5, early stopping (patience 10)",
        "no gradient clipping, no early stopping",
    )


def test_values_that_both_search_are_ignored() -> None:
    one, other = _training(Recipe(optimizer=Sgd(lr=0.1))), _training(Recipe(optimizer=Sgd(lr=0.2, momentum=0.5)))
    assert describe_difference(one, other, {"optimizer.lr"}) == ("momentum 0.9", "momentum 0.5")


def test_a_key_that_is_not_known_is_shown_as_it_is() -> None:
    one = replace(_training(), recipe={**_training().recipe, "novel": "x"})
    assert describe_difference(one, _training()) == ("novel x", "novel none")


@given(TRAININGS, TRAININGS)
def test_every_difference_is_visible(one: Training, other: Training) -> None:
    mine, others = describe_difference(one, other)
    read = [training if training.reads_images else replace(training, train_images=0) for training in (one, other)]
    assert (mine == others) == (read[0] == read[1])
    assert bool(mine) == bool(others) == (mine != others)
    assert describe_difference(one, one) == ("", "")
    assert describe_difference(other, one) == (others, mine)


@given(RECIPES, RECIPES)
def test_different_recipes_have_different_descriptions(one: Recipe, other: Recipe) -> None:
    texts = [describe_recipe(recipe.model_dump(mode="json")) for recipe in (one, other)]
    assert (texts[0] == texts[1]) == (one == other)


def test_hidden_values_are_the_defaults_of_the_recipe() -> None:
    tables = [Sgd(), Adam(), AdamW(), Constant(), Cosine(), MultiStep(), OneCycle(), Plateau()]
    defaults = {name: value for table in tables for name, value in table.model_dump().items()}
    assert {name: defaults[name] for name in HIDDEN} == HIDDEN


def test_initial_weights_are_named() -> None:
    start = replace(_training(), initial_weights="teacher.safetensors")
    assert describe_difference(start, _training()) == (
        "weights from teacher.safetensors at the start (the images that these have seen are not known)",
        "random initial weights",
    )
