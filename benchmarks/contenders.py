"""Who trains in `sweep.py`: kdbench, the plain loop of published repositories, and torchdistill. No script.

On a GPU the last two have cuDNN look for its fastest algorithms, as such scripts do; kdbench has it take reproducible
ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms
from vanilla import BATCH, MEAN, RATE, SHAPE, STD, WARM_UP, Configurations, cohort, network, photographs

from kdbench.worker.options import Options


@final
@dataclass(frozen=True)
class Work:
    """What every contender is to train."""

    pair: str
    precision: Literal["bf16", "fp32"]
    steps: int
    configurations: Configurations
    device: Literal["cpu", "cuda"]
    loaders: int
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def place(self) -> torch.device:
        """The device."""
        return torch.device(self.device)


def kdbench(work: Work) -> Callable[[], None]:
    """All configurations as one cohort."""
    options = Options(compile=work.compile, cuda_graphs=work.cuda_graphs)
    return cohort(work.pair, work.precision, work.steps, work.configurations, work.place, options)


@final
class Photographs(Dataset[tuple[Tensor, int]]):
    """The images as files are read: one by one, by Pillow and torchvision."""

    def __init__(self, count: int) -> None:
        images, labels = photographs(count, torch.device("cpu"))
        self._pixels: NDArray[Any] = images.permute(0, 2, 3, 1).numpy()
        self._labels: list[int] = labels.tolist()
        self._change = transforms.Compose(
            [
                transforms.RandomCrop(SHAPE[1], padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self._change(Image.fromarray(self._pixels[place])), self._labels[place]


def _loading(work: Work) -> dict[str, Any]:
    """How a DataLoader is to load."""
    kept = {"num_workers": work.loaders, "persistent_workers": work.loaders > 0}
    return {"batch_size": BATCH, "drop_last": True, "pin_memory": work.device == "cuda", **kept}


def _images(work: Work) -> Photographs:
    return Photographs(max(work.steps, WARM_UP[work.device]) * BATCH)


@final
class OnlyLogits(nn.Module):
    """A network as others write it: images in, logits out."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = network(name)

    def forward(self, images: Tensor) -> Tensor:
        """ImageSplit (B, C, H, W) to logits (B, K)."""
        logits: Tensor = self.network(images).logits
        return logits


def plain(work: Work) -> Callable[[], None]:
    """One configuration after the other, each step as published repositories write it."""
    torch.backends.cudnn.benchmark = True
    teacher_name, student_name = work.pair.split(":")
    teacher = OnlyLogits(teacher_name).to(work.place).eval()
    loader = DataLoader(_images(work), shuffle=True, **_loading(work))

    def train(student: nn.Module, steps: int, alpha: float, temperature: float) -> None:
        optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
        student.train()
        for images, labels in islice(loader, steps):
            images, labels = _sent(images, work), _sent(labels, work)
            logits = student(images)
            with torch.no_grad():
                soft = teacher(images)
            hard = F.cross_entropy(logits, labels)
            kl = F.kl_div(
                F.log_softmax(logits / temperature, dim=1), F.softmax(soft / temperature, dim=1), reduction="batchmean"
            )
            loss = (1 - alpha) * hard + alpha * temperature**2 * kl
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # the running mean that such loops print

    def made() -> nn.Module:
        return OnlyLogits(student_name).to(work.place)

    train(made(), WARM_UP[work.device], 0.5, 4.0)
    ready = [(made(), *configuration) for configuration in work.configurations]

    def train_all() -> None:
        for student, alpha, temperature in ready:
            train(student, work.steps, alpha, temperature)

    return train_all


def _sent(value: Tensor, work: Work) -> Tensor:
    return value.to(work.place, non_blocking=True)


def torchdistill(work: Work) -> Callable[[], None]:
    """One configuration after the other, each in a box of torchdistill."""
    from torchdistill.core.distillation import DistillationBox

    torch.backends.cudnn.benchmark = True
    teacher_name, student_name = work.pair.split(":")
    teacher, images = OnlyLogits(teacher_name).to(work.place), _images(work)

    def box(alpha: float, temperature: float) -> Any:
        student, about = OnlyLogits(student_name).to(work.place), _config(work, alpha, temperature)
        return DistillationBox(teacher, student, {"train": images}, about, work.place, None, False, 1)

    def train(one: Any, loader: Any, steps: int) -> None:
        one.pre_epoch_process(epoch=0)
        for images, labels, supplement in _with_supplement(islice(loader, steps)):
            loss = one.forward_process(_sent(images, work), _sent(labels, work), supp_dict=supplement)
            one.post_forward_process(loss=loss)
            loss.item()  # as its examples do, for the mean that they log

    first = box(0.5, 4.0)
    loader = first.train_data_loader  # one for all configurations, so that its workers start once
    train(first, loader, WARM_UP[work.device])
    ready = [box(*configuration) for configuration in work.configurations]

    def train_all() -> None:
        for one in ready:
            train(one, loader, work.steps)

    return train_all


def _with_supplement(batches: Iterator[Any]) -> Iterator[tuple[Any, Any, Any]]:
    for parts in batches:
        yield parts if len(parts) == 3 else (*parts, None)


def _config(work: Work, alpha: float, temperature: float) -> dict[str, Any]:
    """Vanilla distillation in torchdistill's terms: there alpha weighs the cross-entropy."""
    both: dict[str, Any] = {"forward_proc": "forward_batch_only", "sequential": [], "wrapper": None}
    whole = {"module_path": ".", "io": "output"}
    loss = {
        **{f"{who}_{key}": value for who in ("student_module", "teacher_module") for key, value in _ends(whole)},
        "temperature": temperature,
        "alpha": 1 - alpha,
        "reduction": "batchmean",
    }
    return {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": _loading(work),
        },
        "teacher": {**both, "requires_grad": False},
        "student": {**both, "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": 0.9, "weight_decay": 5e-4}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}}},
        },
    }


def _ends(whole: dict[str, str]) -> list[tuple[str, str]]:
    return [("path", whole["module_path"]), ("io", whole["io"])]
