"""The contenders of `sweep.py`: kdbench, the plain loop of published repositories, and torchdistill. Not a script.

On a GPU the last two let cuDNN benchmark its algorithms, as such scripts do; kdbench uses deterministic ones.
"""

from collections.abc import Callable, Iterator, Sequence
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
from vanilla import BATCH, MEAN, RATE, SHAPE, STD, WARM_UP, Configurations, make_cohort, make_network, random_images

from kdbench.worker.options import Options


@final
@dataclass(frozen=True)
class Work:
    """The work of every contender."""

    pair: str
    precision: Literal["bf16", "fp32"]
    steps: int
    configurations: Configurations
    device: Literal["cpu", "cuda"]
    loaders: int
    compile: bool = False
    cuda_graphs: bool = False

    @property
    def torch_device(self) -> torch.device:
        """The device."""
        return torch.device(self.device)


def kdbench(work: Work) -> Callable[[], None]:
    """Return a function that trains all configurations as one cohort."""
    options = Options(compile=work.compile, cuda_graphs=work.cuda_graphs)
    return make_cohort(work.pair, work.precision, work.steps, work.configurations, work.torch_device, options)


@final
class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images (N, H, W, C) that are decoded, augmented and normalized one by one with Pillow and torchvision."""

    def __init__(self, pixels: NDArray[Any], labels: Sequence[int], augment: bool = True) -> None:
        self._pixels, self._labels = pixels, labels
        augmentations = [transforms.RandomCrop(SHAPE[1], padding=4), transforms.RandomHorizontalFlip()]
        self._transform = transforms.Compose(
            [*(augmentations if augment else []), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._pixels[index])), self._labels[index]


def _loader_options(work: Work) -> dict[str, Any]:
    """Return the keyword arguments of a DataLoader."""
    workers = {"num_workers": work.loaders, "persistent_workers": work.loaders > 0}
    return {"batch_size": BATCH, "drop_last": True, "pin_memory": work.device == "cuda", **workers}


def _images(work: Work) -> ImageDataset:
    images, labels = random_images(max(work.steps, WARM_UP[work.device]) * BATCH, torch.device("cpu"))
    return ImageDataset(images.permute(0, 2, 3, 1).numpy(), labels.tolist())


@final
class LogitsOnly(nn.Module):
    """A network that returns only logits."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.network = make_network(name)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, K) of images (B, C, H, W)."""
        logits: Tensor = self.network(images).logits
        return logits


def plain_step(
    student: nn.Module,
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    alpha: float,
    temperature: float,
) -> None:
    """Train a student on images and labels as published repositories do; without a teacher, on the labels alone."""
    images, labels = batch
    logits = student(images)
    loss = F.cross_entropy(logits, labels)
    if teacher is not None:
        with torch.no_grad():
            soft = teacher(images)
        kl = F.kl_div(
            F.log_softmax(logits / temperature, dim=1), F.softmax(soft / temperature, dim=1), reduction="batchmean"
        )
        loss = (1 - alpha) * loss + alpha * temperature**2 * kl
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss.item()  # the running mean that such loops print


def plain_optimizer(student: nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer of the plain loop."""
    return torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)


def plain(work: Work) -> Callable[[], None]:
    """Return a function that trains one configuration after the other, as published repositories do."""
    torch.backends.cudnn.benchmark = True
    teacher_name, student_name = work.pair.split(":")
    teacher = LogitsOnly(teacher_name).to(work.torch_device).eval()
    loader = DataLoader(_images(work), shuffle=True, **_loader_options(work))

    def train(student: nn.Module, steps: int, alpha: float, temperature: float) -> None:
        optimizer = plain_optimizer(student)
        student.train()
        for images, labels in islice(loader, steps):
            batch = _to_device(images, work), _to_device(labels, work)
            plain_step(student, teacher, optimizer, batch, alpha, temperature)

    def make_student() -> nn.Module:
        return LogitsOnly(student_name).to(work.torch_device)

    train(make_student(), WARM_UP[work.device], 0.5, 4.0)
    students = [(make_student(), *configuration) for configuration in work.configurations]

    def train_all() -> None:
        for student, alpha, temperature in students:
            train(student, work.steps, alpha, temperature)

    return train_all


def _to_device(value: Tensor, work: Work) -> Tensor:
    return value.to(work.torch_device, non_blocking=True)


def torchdistill(work: Work) -> Callable[[], None]:
    """Return a function that trains one configuration after the other, each in a torchdistill box."""
    from torchdistill.core.distillation import DistillationBox

    torch.backends.cudnn.benchmark = True
    teacher_name, student_name = work.pair.split(":")
    teacher, images = LogitsOnly(teacher_name).to(work.torch_device), _images(work)

    def make_box(alpha: float, temperature: float) -> Any:
        student, config = LogitsOnly(student_name).to(work.torch_device), _config(work, alpha, temperature)
        return DistillationBox(teacher, student, {"train": images}, config, work.torch_device, None, False, 1)

    def train(box: Any, loader: Any, steps: int) -> None:
        box.pre_epoch_process(epoch=0)
        for images, labels, supplement in _with_supplement(islice(loader, steps)):
            loss = box.forward_process(_to_device(images, work), _to_device(labels, work), supp_dict=supplement)
            box.post_forward_process(loss=loss)
            loss.item()  # as in its examples, which log the mean

    first = make_box(0.5, 4.0)
    loader = first.train_data_loader  # shared by all configurations, so that its workers start once
    train(first, loader, WARM_UP[work.device])
    boxes = [make_box(*configuration) for configuration in work.configurations]

    def train_all() -> None:
        for box in boxes:
            train(box, loader, work.steps)

    return train_all


def _with_supplement(batches: Iterator[Any]) -> Iterator[tuple[Any, Any, Any]]:
    for parts in batches:
        yield parts if len(parts) == 3 else (*parts, None)


def _config(work: Work, alpha: float, temperature: float) -> dict[str, Any]:
    """Return the torchdistill configuration of vanilla distillation; its alpha is the weight of the cross-entropy."""
    common: dict[str, Any] = {"forward_proc": "forward_batch_only", "sequential": [], "wrapper": None}
    output = {"module_path": ".", "io": "output"}
    loss = {
        **{f"{module}_{key}": value for module in ("student_module", "teacher_module") for key, value in _ends(output)},
        "temperature": temperature,
        "alpha": 1 - alpha,
        "reduction": "batchmean",
    }
    return {
        "num_epochs": 1,
        "train_data_loader": {
            "dataset_id": "train",
            "sampler": {"class_or_func": RandomSampler},
            "kwargs": _loader_options(work),
        },
        "teacher": {**common, "requires_grad": False},
        "student": {**common, "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": 0.9, "weight_decay": 5e-4}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}}},
        },
    }


def _ends(output: dict[str, str]) -> list[tuple[str, str]]:
    return [("path", output["module_path"]), ("io", output["io"])]
