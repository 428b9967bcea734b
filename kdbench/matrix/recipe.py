"""How a network is trained: the recipe of a matrix, typed and resolved."""

import hashlib
import json
from functools import cached_property
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Table(BaseModel):
    """A TOML table: strict types, no unknown key, no NaN, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @cached_property
    def canonical(self) -> str:
        """The JSON that enters a run's identity."""
        return canonical(_identity(self))

    def __hash__(self) -> int:
        return hash(self.canonical)  # computed once: plans look a recipe up a hundred thousand times


class Since:
    """Marks a field added in a later version: `Annotated[int, Since("0.2")]`; old identities stay what they were."""

    def __init__(self, version: str) -> None:
        self.version = version


def by_name(value: object) -> object:
    """`"sgd"` is short for `{ name = "sgd" }`."""
    return {"name": value} if isinstance(value, str) else value


def canonical(value: object) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(text: str) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    """Half a cosine from the full rate down to the share `floor` of it (arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"
    floor: Share = 0.0
    warmup: NonNegative = 0.0


class OneCycle(Table):
    """Cosine up from lr / `start` over the share `rise` of the run, then down to lr / `end` (arXiv:1708.07120)."""

    name: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Gt(0), Lt(1)] = 0.3
    start: Annotated[float, Ge(1)] = 25.0
    end: Annotated[float, Ge(1)] = 250_000.0
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


class Shift(Table):
    """Move by up to `pixels` pixels in each direction; what comes in repeats the border."""

    name: Literal["shift"] = "shift"
    pixels: Count = 1


class Rotate90(Table):
    """Turn by 0, 90, 180 or 270 degrees, each as likely; by 0 or 180 if the image is not square."""

    name: Literal["rotate90"] = "rotate90"


class Erase(Table):
    """With probability `probability` fill a rectangle, 0.02 to `area` of the image, with noise (arXiv:1708.04896)."""

    name: Literal["erase"] = "erase"
    probability: Annotated[float, Gt(0), Le(1)] = 0.5
    area: Annotated[float, Ge(0.02), Lt(1)] = 0.4


Augmentation = Annotated[Crop | Flip | Shift | Rotate90 | Erase, Field(discriminator="name"), BeforeValidator(by_name)]
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
    clip: Positive | None = None
    train_samples: Count | None = None
    early_stopping: EarlyStopping | None = None
    steps_per_epoch: Count | None = None
