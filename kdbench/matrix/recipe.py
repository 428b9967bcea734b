"""The recipe: how a network is trained (optimizer, schedule, augmentation, precision)."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kdbench.matrix.identity import Since, canonical


class TomlTable(BaseModel):
    """A TOML table: frozen, with strict types, without unknown keys and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @cached_property
    def canonical(self) -> str:
        """The JSON that enters a run's identity."""
        return canonical(_identity(self))

    def __hash__(self) -> int:
        return hash(self.canonical)  # computed once: plans look a recipe up a hundred thousand times


def by_name(value: object) -> object:
    """Return the table `{ name = "sgd" }` for the name `"sgd"`, and any other value unchanged."""
    return {"name": value} if isinstance(value, str) else value


def by_name_or(default: str) -> BeforeValidator:
    """Return a validator like `by_name` that adds the name `default` to a table without a name."""

    def add_name(value: object) -> object:
        if isinstance(value, Mapping) and "name" not in value:
            return {"name": default, **value}
        return by_name(value)

    return BeforeValidator(add_name)


def _identity(value: object) -> object:
    """Return plain data, without the fields of later versions that have their default."""
    if isinstance(value, tuple):
        return [_identity(item) for item in value]
    if not isinstance(value, TomlTable):
        return value
    fields = [(name, field, getattr(value, name)) for name, field in type(value).model_fields.items()]
    return {
        name: _identity(item)
        for name, field, item in fields
        if not (item == field.default and any(isinstance(m, Since) for m in field.metadata))
    }


Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
Probability = Annotated[float, Gt(0), Le(1)]
Count = Annotated[int, Ge(1), Lt(2**31)]
Betas = Annotated[tuple[Fraction, Fraction], Field(strict=False)]

_NAME = "Selects this table; the name alone (a string in place of a table) selects it with its defaults"
_LR = "Learning rate, before the schedule"
_BETAS = "Decay rates of the running averages of the gradient and of its square"
_DECAY = "Weight decay (L2 penalty), added to the gradient"
_WARMUP = "Epochs over which the learning rate rises linearly: batch i of n has i / n of it; 0 disables the warm-up"


class Sgd(TomlTable):
    """Stochastic gradient descent with momentum (`torch.optim.SGD`)."""

    name: Literal["sgd"] = Field("sgd", description=_NAME)
    lr: Positive = Field(0.1, description=_LR)
    momentum: Fraction = Field(0.9, description="Momentum factor")
    weight_decay: NonNegative = Field(5e-4, description=_DECAY)
    nesterov: bool = Field(False, description="Use Nesterov momentum")


class Adam(TomlTable):
    """Adam (arXiv:1412.6980, `torch.optim.Adam`)."""

    name: Literal["adam"] = Field("adam", description=_NAME)
    lr: Positive = Field(1e-3, description=_LR)
    betas: Betas = Field((0.9, 0.999), description=_BETAS)
    weight_decay: NonNegative = Field(0.0, description=_DECAY)


class AdamW(TomlTable):
    """Adam with decoupled weight decay (arXiv:1711.05101, `torch.optim.AdamW`)."""

    name: Literal["adamw"] = Field("adamw", description=_NAME)
    lr: Positive = Field(1e-3, description=_LR)
    betas: Betas = Field((0.9, 0.999), description=_BETAS)
    weight_decay: NonNegative = Field(0.01, description="Weight decay, applied to the weights directly")


Optimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="name"), by_name_or("sgd")]


class Constant(TomlTable):
    """The learning rate is constant."""

    name: Literal["constant"] = Field("constant", description=_NAME)
    warmup: NonNegative = Field(0.0, description=_WARMUP)


class MultiStep(TomlTable):
    """The learning rate is multiplied by `gamma` at each milestone (`MultiStepLR`)."""

    name: Literal["multistep"] = Field("multistep", description=_NAME)
    milestones: Annotated[tuple[Positive, ...], Field(strict=False)] = Field(
        (), description="Numbers of finished epochs after which the learning rate is multiplied"
    )
    gamma: Probability = Field(0.1, description="Factor at each milestone")
    warmup: NonNegative = Field(0.0, description=_WARMUP)


class Cosine(TomlTable):
    """The learning rate falls along half a cosine with every batch (arXiv:1608.03983, `CosineAnnealingLR`)."""

    name: Literal["cosine"] = Field("cosine", description=_NAME)
    min_lr_ratio: Fraction = Field(0.0, description="Learning rate at the end, as a fraction of `lr`")
    warmup: NonNegative = Field(0.0, description=_WARMUP)


class OneCycle(TomlTable):
    """The learning rate rises, then falls along cosines with every batch (`OneCycleLR`); `lr` is its maximum."""

    name: Literal["one_cycle"] = Field("one_cycle", description=_NAME)
    pct_start: Annotated[float, Gt(0), Lt(1)] = Field(
        0.3, description="Fraction of the run over which the learning rate rises"
    )
    div_factor: Annotated[float, Ge(1)] = Field(25.0, description="The first learning rate is `lr / div_factor`")
    final_div_factor: Annotated[float, Ge(1)] = Field(
        1e4, description="The last learning rate is `lr / (div_factor * final_div_factor)`"
    )
    cycle_momentum: bool = Field(
        False,
        description="Lower the momentum (Adam's first beta) while the learning rate rises, and raise it again; that of "
        "the optimizer is not used. CUDA graphs are off",
    )
    base_momentum: Fraction = Field(0.85, description="Momentum where the learning rate is highest")
    max_momentum: Fraction = Field(0.95, description="Momentum at both ends")
    warmup: NonNegative = Field(0.0, description=_WARMUP)

    @model_validator(mode="after")
    def _check_momentum(self) -> "OneCycle":
        if not self.cycle_momentum and (self.base_momentum, self.max_momentum) != (0.85, 0.95):
            raise ValueError("base_momentum and max_momentum have an effect only with cycle_momentum = true; set it")
        if self.base_momentum > self.max_momentum:
            raise ValueError("base_momentum must not be greater than max_momentum")
        return self


class Plateau(TomlTable):
    """The learning rate is multiplied by `factor` when validation stops improving (`ReduceLROnPlateau`)."""

    name: Literal["plateau"] = Field("plateau", description=_NAME)
    factor: Annotated[float, Gt(0), Lt(1)] = Field(0.5, description="Factor at each plateau")
    patience: Annotated[int, Ge(0)] = Field(
        2,
        description="Epochs in a row without a new best one that are tolerated; one more lowers the learning rate",
    )
    warmup: NonNegative = Field(0.0, description=_WARMUP)


Schedule = Annotated[
    Constant | MultiStep | Cosine | OneCycle | Plateau, Field(discriminator="name"), by_name_or("cosine")
]


class EarlyStopping(TomlTable):
    """Training stops when validation stops improving; the weights of the best epoch are kept, scored and shown."""

    patience: Count = Field(10, description="Epochs in a row without a new best epoch after which training stops")


class Crop(TomlTable):
    """Pad with zeros, then crop to the original size at a random position."""

    name: Literal["crop"] = Field("crop", description=_NAME)
    padding: Count = Field(4, description="Padding on each side, in pixels")


class Flip(TomlTable):
    """Flip horizontally."""

    name: Literal["flip"] = Field("flip", description=_NAME)
    probability: Probability = Field(0.5, description="Probability of a flip")


class Translate(TomlTable):
    """Shift by a random number of pixels in each direction; the border is replicated."""

    name: Literal["translate"] = Field("translate", description=_NAME)
    pixels: Count = Field(1, description="Largest shift, in pixels")


class Rotate90(TomlTable):
    """Rotate by 0, 90, 180 or 270 degrees, each equally likely; by 0 or 180 if the image is not square."""

    name: Literal["rotate90"] = Field("rotate90", description=_NAME)


class RandomErasing(TomlTable):
    """Fill a random rectangle with noise (arXiv:1708.04896)."""

    name: Literal["random_erasing"] = Field("random_erasing", description=_NAME)
    probability: Probability = Field(0.5, description="Probability of an erased rectangle")
    area: Annotated[float, Ge(0.02), Lt(1)] = Field(
        0.4, description="Largest area of the rectangle, as a fraction of the image; the smallest is 0.02"
    )


Augmentation = Annotated[
    Crop | Flip | Translate | Rotate90 | RandomErasing, Field(discriminator="name"), BeforeValidator(by_name)
]
Augmentations = Annotated[tuple[Augmentation, ...], Field(strict=False)]


class Recipe(TomlTable):
    """How every network is trained; `[recipe.teacher]` and `[recipe.student]` refine it for one role."""

    epochs: Annotated[int, Ge(0), Lt(2**31)] = Field(
        100, description="Training epochs; 0 trains nothing and scores the initial weights"
    )
    batch_size: Count = Field(128, description="Images per batch; the remainder of an epoch is dropped")
    optimizer: Optimizer = Field(
        Sgd(), description="Optimizer: `sgd`, `adam` or `adamw`. A table without a name is one of `sgd`"
    )
    schedule: Schedule = Field(
        Cosine(),
        description="Schedule of the learning rate: `constant`, `multistep`, `cosine`, `one_cycle`, `plateau`. A table "
        "without a name is one of `cosine`",
    )
    augment: Augmentations = Field(
        (), description="Augmentations, in this order: `crop`, `flip`, `translate`, `rotate90`, `random_erasing`"
    )
    strong_augment: Augmentations = Field(
        (),
        description="Augmentations of the second view, for methods that need several views; empty: those of `augment`",
    )
    precision: Literal["auto", "bf16", "fp32", "tf32"] = Field(
        "auto",
        description='Precision in training; `"auto"`: bf16 where the device supports it natively and fast, else fp32. '
        '`"tf32"` (GPUs only) allows TF32, which fp32 does not. Scores are computed in fp32',
    )
    grad_clip_norm: Positive | None = Field(
        None, description="Largest norm of the gradient; larger gradients are scaled down to it. Default: no clipping"
    )
    train_samples: Count | None = Field(
        None, description="Size of the stratified subset of the training images to train on. Default: all"
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Stop when validation stops improving, and keep the best epoch. Default: train all epochs"
    )
    monitor: Literal["accuracy", "loss"] = Field(
        "accuracy",
        description="What makes a validation epoch the best, for `plateau`, for `early_stopping` and for the weights "
        'that are kept: the highest `"accuracy"` or the lowest `"loss"`; of equal epochs the first',
    )
    steps_per_epoch: Count | None = Field(
        None,
        description="Optimizer steps per epoch, for methods without training images. "
        "Default: as many as with the training images",
    )
