"""The table `[protocol]`: splits, teachers and the search."""

from typing import Annotated, Literal

from annotated_types import Ge, Lt, MinLen
from pydantic import Field, field_validator

from kdbench.matrix.recipe import Fraction, TomlTable

Seed = Annotated[int, Ge(0), Lt(2**31)]


class Protocol(TomlTable):
    """The split, the seeds of the teachers, and the seeds that choose configurations, for the whole matrix."""

    validation: Fraction = Field(
        0.1,
        description="Stratified fraction of the training images that is used for validation. Configurations and best "
        "epochs are chosen on it. 0: train on all images and choose nothing",
    )
    split_seed: Seed | Literal["paired"] = Field(
        0,
        description="Seed of the validation split and of training subsets, for all runs; "
        '`"paired"`: a split for each seed, which needs `teacher_seed = "paired"`',
    )
    teacher_seed: Seed | Literal["paired"] = Field(
        0,
        description='Seed of the teacher, which all students share; `"paired"`: a teacher for each seed',
    )
    track_test: bool = Field(
        False, description="Evaluate on the test images after every epoch; required by `--selection best_test`"
    )
    search_seeds: Annotated[tuple[Seed, ...], Field(strict=False), MinLen(1)] = Field(
        (),
        description="Seeds on which a label with several configurations is searched. Only the configuration with the "
        "best mean validation accuracy is then trained on `seeds`, none of which may be in this list. "
        "Default: configurations are chosen on `seeds`, which are reported too",
    )
    refit: bool = Field(
        False,
        description="Train the reported runs, their teachers included, on the training and the validation images "
        "together, or with `train_samples` on a subset of both, and report their last epoch; needs `search_seeds`",
    )

    @field_validator("search_seeds")
    @classmethod
    def _refuse_duplicates(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        return refuse_duplicates(values)


def refuse_duplicates(values: tuple[object, ...]) -> tuple[object, ...]:
    """Return the values.

    Raises:
        ValueError: two of them are equal.
    """
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"must not repeat a value, but [{index}] equals [{values.index(value)}]")
    return values
