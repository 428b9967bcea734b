"""How a network is trained: the recipe of a matrix, typed and resolved."""

from functools import cached_property
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from kdbench.matrix.identity import Since, canonical


class Table(BaseModel):
    """A TOML table: strict types, no unknown key, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @cached_property
    def canonical(self) -> str:
        """The JSON that enters a run's identity."""
        return canonical(_identity(self))

    def __hash__(self) -> int:
        return hash(self.canonical)  # computed once: plans look a recipe up a hundred thousand times


def by_name(value: object) -> object:
    """`"sgd"` is short for `{ name = "sgd" }`."""
    return {"name": value} if isinstance(value, str) else value


def _identity(value: object) -> object:
    """Plain data; fields added after the first release are left out while they hold their default."""
    if isinstance(value, tuple):
        return [_identity(one) for one in value]
    if not isinstance(value, Table):
        return value
    held = [(name, field, getattr(value, name)) for name, field in type(value).model_fields.items()]
    return {
        name: _identity(one)
        for name, field, one in held
        if not (one == field.default and any(isinstance(m, Since) for m in field.metadata))
    }


Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Lt(1)]
Count = Annotated[int, Ge(1), Lt(2**31)]


class Sgd(Table):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Share = 0.9
    weight_decay: NonNegative = 5e-4
    nesterov: bool = False


class Adam(Table):
    """Adam (arXiv:1412.6980)."""

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    weight_decay: NonNegative = 0.0


class AdamW(Table):
    """Adam with decoupled weight decay (arXiv:1711.05101)."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)
    weight_decay: NonNegative = 0.01


Optimizer = Annotated[Sgd | Adam | AdamW, Field(discriminator="name"), BeforeValidator(by_name)]


class Constant(Table):
    """The rate stays what it is."""

    name: Literal["constant"] = "constant"
    warmup: NonNegative = 0.0


class MultiStep(Table):
    """The rate is multiplied by `gamma` at each milestone."""

    name: Literal["multistep"] = "multistep"
    milestones: Annotated[tuple[Positive, ...], Field(strict=False)] = ()
    gamma: Annotated[float, Gt(0), Le(1)] = 0.1
    warmup: NonNegative = 0.0


class Cosine(Table):
    """Half a cosine from the full rate down to the share `min_lr_ratio` of it (arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"
    min_lr_ratio: Share = 0.0
    warmup: NonNegative = 0.0


class OneCycle(Table):
    """As `torch.optim.lr_scheduler.OneCycleLR` with cosine annealing (arXiv:1708.07120).

    The rate rises from lr / `div_factor` over the fraction `pct_start` of the run, then falls to
    lr / (`div_factor` `final_div_factor`).
    """

    name: Literal["one_cycle"] = "one_cycle"
    pct_start: Annotated[float, Gt(0), Lt(1)] = 0.3
    div_factor: Annotated[float, Ge(1)] = 25.0
    final_div_factor: Annotated[float, Ge(1)] = 1e4
    warmup: NonNegative = 0.0


class Plateau(Table):
    """The rate is multiplied by `factor` when the validation loss has not improved for `patience` epochs."""

    name: Literal["plateau"] = "plateau"
    factor: Annotated[float, Gt(0), Lt(1)] = 0.5
    patience: Annotated[int, Ge(0)] = 2
    warmup: NonNegative = 0.0


Schedule = Annotated[
    Constant | MultiStep | Cosine | OneCycle | Plateau, Field(discriminator="name"), BeforeValidator(by_name)
]


class EarlyStopping(Table):
    """Stop when the validation loss has not improved for `patience` epochs; the best epoch's weights are kept."""

    patience: Count = 10


class Crop(Table):
    """Pad by `padding` pixels of zeros, then cut the old size out at a random place."""

    name: Literal["crop"] = "crop"
    padding: Count = 4


class Flip(Table):
    """Mirror left and right with probability `probability`."""

    name: Literal["flip"] = "flip"
    probability: Annotated[float, Gt(0), Le(1)] = 0.5


class Translate(Table):
    """Move by up to `pixels` pixels in each direction; what comes in repeats the border."""

    name: Literal["translate"] = "translate"
    pixels: Count = 1


class Rotate90(Table):
    """Turn by 0, 90, 180 or 270 degrees, each as likely; by 0 or 180 if the image is not square."""

    name: Literal["rotate90"] = "rotate90"


class RandomErasing(Table):
    """With probability `probability` fill a rectangle, 0.02 to `area` of the image, with noise (arXiv:1708.04896)."""

    name: Literal["random_erasing"] = "random_erasing"
    probability: Annotated[float, Gt(0), Le(1)] = 0.5
    area: Annotated[float, Ge(0.02), Lt(1)] = 0.4


Augmentation = Annotated[
    Crop | Flip | Translate | Rotate90 | RandomErasing, Field(discriminator="name"), BeforeValidator(by_name)
]
Augmentations = Annotated[tuple[Augmentation, ...], Field(strict=False)]


class Recipe(Table):
    """How one network is trained, resolved for its role and its cell; lengths of time are in epochs."""

    epochs: Annotated[int, Ge(0), Lt(2**31)] = 100  # 0: the network is used as it is
    batch_size: Count = 128
    optimizer: Optimizer = Sgd()
    schedule: Schedule = Cosine()
    augment: Augmentations = ()
    strong_augment: Augmentations = ()
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    grad_clip_norm: Positive | None = None
    train_samples: Count | None = None
    early_stopping: EarlyStopping | None = None
    steps_per_epoch: Count | None = None
