"""Nine settings of vanilla distillation (alpha x T): kdbench, a plain PyTorch loop, and torchdistill.

    python benchmarks/sweep.py [--pair TEACHER:STUDENT ...] [--precision bf16] [--steps 4] [--rounds 3]

The plain loop is that of published repositories: one setting at a time, torchvision's transforms in a DataLoader,
float32, contiguous. It is given the machine in both ways, one process on all cores and one process a core, and the
faster counts; so is torchdistill (from the package index, extra `bench`; left out where it is not installed). kdbench
trains its cohort on one process a core. Images are random, of CIFAR-100's shape: their content does not matter here.

All contenders run in every round, one after the other; printed are the medians and the ratios of each round.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any

PAIRS = ("wrn_40_2:wrn_16_2", "resnet32x4:resnet8x4")
ALPHAS, TEMPERATURES = (0.1, 0.5, 0.9), (2.0, 4.0, 8.0)
SETTINGS = [(alpha, temperature) for alpha in ALPHAS for temperature in TEMPERATURES]
CLASSES, SHAPE, BATCH, RATE = 100, (3, 32, 32), 64, 0.05
MEAN, STD = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

Settings = Sequence[tuple[float, float]]


def main() -> None:
    """Run the contenders in turn, or (as a child) one share of one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs="+", default=PAIRS)
    parser.add_argument("--precision", choices=["bf16", "fp32"], default="bf16")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--settings", type=int, default=len(SETTINGS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        _child(**json.loads(asked.child))
        return
    for pair in asked.pair:
        _compare(pair, asked.precision, asked.steps, asked.rounds, SETTINGS[: asked.settings])


def _compare(pair: str, precision: str, steps: int, rounds: int, settings: Settings) -> None:
    contenders = {"kdbench": [("kdbench", CORES, 1)], "plain loop": [("plain", CORES, 1), ("plain", 1, CORES)]}
    if importlib.util.find_spec("torchdistill"):
        contenders["torchdistill"] = [("torchdistill", CORES, 1), ("torchdistill", 1, CORES)]
    else:
        _tell("torchdistill is not installed (pip install 'kdbench[bench]'): left out")
    ways = [way for several in contenders.values() for way in several]
    taken: dict[tuple[str, int, int], list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way in ways:
            taken[way].append(_run(way, pair, precision, steps, settings))
    _tell(f"{pair}, kdbench in {precision}, {len(settings)} settings x {steps} steps of {BATCH} images, {CORES} cores")
    for (name, processes, threads), seconds in taken.items():
        _tell(f"  {name:12} {processes} x {threads} threads: {_spread(seconds, ' s')}")
    for name, several in contenders.items():
        if name != "kdbench":
            best = min(several, key=lambda way: statistics.median(taken[way]))
            ratios = [other / own for other, own in zip(taken[best], taken["kdbench", CORES, 1], strict=True)]
            _tell(f"  kdbench is faster than {name} (at its faster way) {_spread(ratios, ' times')}")


def _run(way: tuple[str, int, int], pair: str, precision: str, steps: int, settings: Settings) -> float:
    """Seconds from the moment when all processes are ready to the end of the last."""
    name, processes, threads = way
    shares = [list(settings[start::processes]) for start in range(processes)]
    children = [_start(name, threads, pair, precision, steps, share) for share in shares if share]
    for child in children:
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise SystemExit(f"{name}: a process ended before it was ready")
    start = perf_counter()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    failed = [child for child in children if child.wait() != 0]
    if failed:
        raise SystemExit(f"{name}: a process failed")
    return perf_counter() - start


def _start(name: str, threads: int, pair: str, precision: str, steps: int, settings: Settings) -> Any:
    about = {
        "name": name,
        "threads": threads,
        "pair": pair,
        "precision": precision,
        "steps": steps,
        "settings": settings,
    }
    from kdbench.queue.executor import environment

    usual = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        [sys.executable, __file__, "--child", json.dumps(about)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment(threads) if name == "kdbench" else usual)},
    )


def _child(name: str, threads: int, pair: str, precision: str, steps: int, settings: Settings) -> None:
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    train = {"kdbench": _kdbench, "plain": _plain, "torchdistill": _torchdistill}[name]
    begin = train(pair, precision, steps, [(alpha, temperature) for alpha, temperature in settings])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    begin()
    sys.stdout.flush()
    os._exit(0)  # what torch takes down at an ordinary exit is nobody's training time


def _images(steps: int) -> tuple[Any, Any]:
    import torch

    count = steps * BATCH
    return torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8), torch.randint(0, CLASSES, (count,))


def _network(name: str) -> Any:
    from kdbench import models

    return models.build(name, num_classes=CLASSES, image_shape=SHAPE)


def _kdbench(pair: str, precision: str, steps: int, settings: Settings) -> Callable[[], None]:
    import torch

    from kdbench import methods
    from kdbench.data.batches import Batches
    from kdbench.matrix.recipe import Recipe, Sgd
    from kdbench.training.loop import Cohort
    from kdbench.training.member import Member
    from kdbench.training.network import Frozen, placed

    cpu = torch.device("cpu")
    names = pair.split(":")
    recipe = Recipe(epochs=1, batch_size=BATCH, precision=precision, optimizer=Sgd(lr=RATE), augment=("crop", "flip"))
    teacher = Frozen(placed(_network(names[0]), cpu))

    def member(alpha: float, temperature: float) -> Member:
        given = {"vanilla": {"alpha": alpha, "temperature": temperature}}
        student = placed(_network(names[1]), cpu)
        return Member("", methods.create(["vanilla"], student=student, teacher=teacher, parameters=given), recipe, 0)

    def cohort(members: list[Member], steps: int) -> Cohort:
        images, labels = _images(steps)
        batches = Batches(images, labels, torch.arange(len(labels)), mean=MEAN, std=STD, recipe=recipe, seed=0)
        return Cohort(members, batches, [teacher], lambda one: {}, lambda epoch, active: None)

    cohort([member(0.5, 4.0)], 1).train(1)
    ready = cohort([member(*setting) for setting in settings], steps)
    return lambda: ready.train(1)


def _loader(steps: int) -> Any:
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    images, labels = _images(steps)
    pixels = images.permute(0, 2, 3, 1).numpy()
    change = transforms.Compose(
        [
            transforms.RandomCrop(SHAPE[1], padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )

    class Photographs(Dataset[Any]):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, place: int) -> tuple[Any, int]:
            return change(Image.fromarray(pixels[place])), int(labels[place])

    return DataLoader(Photographs(), batch_size=BATCH, shuffle=True, drop_last=True)


def _only_logits(name: str) -> Any:
    from torch import nn

    class OnlyLogits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = _network(name)

        def forward(self, images: Any) -> Any:
            return self.network(images).logits

    return OnlyLogits()


def _plain(pair: str, precision: str, steps: int, settings: Settings) -> Callable[[], None]:
    import torch
    import torch.nn.functional as F

    names = pair.split(":")
    teacher = _only_logits(names[0]).eval()

    def train(student: Any, loader: Any, alpha: float, temperature: float) -> None:
        optimizer = torch.optim.SGD(student.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
        student.train()
        for images, labels in loader:
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

    train(_only_logits(names[1]), _loader(1), 0.5, 4.0)
    ready = [(_only_logits(names[1]), _loader(steps), *setting) for setting in settings]
    return lambda: [train(*one) for one in ready] and None


def _torchdistill(pair: str, precision: str, steps: int, settings: Settings) -> Callable[[], None]:
    import torch
    from torchdistill.core.distillation import DistillationBox

    names, cpu = pair.split(":"), torch.device("cpu")
    teacher = _only_logits(names[0])

    def box(alpha: float, temperature: float, steps: int) -> Any:
        loader = _loader(steps)
        return DistillationBox(
            teacher,
            _only_logits(names[1]),
            {"train": loader.dataset},
            _config(alpha, temperature),
            cpu,
            None,
            False,
            1,
        )

    def train(one: Any) -> None:
        one.pre_epoch_process(epoch=0)
        for images, labels, supplement in _with_supplement(one.train_data_loader):
            loss = one.forward_process(images, labels, supp_dict=supplement)
            one.post_forward_process(loss=loss)

    train(box(0.5, 4.0, 1))
    ready = [box(*setting, steps) for setting in settings]
    return lambda: [train(one) for one in ready] and None


def _with_supplement(loader: Any) -> Iterator[tuple[Any, Any, Any]]:
    for parts in loader:
        yield parts if len(parts) == 3 else (*parts, None)


def _config(alpha: float, temperature: float) -> dict[str, Any]:
    """Vanilla distillation in torchdistill's terms: there alpha weighs the cross-entropy."""
    from torch.utils.data import RandomSampler

    network = {"forward_proc": "forward_batch_only", "sequential": [], "wrapper": None}
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
            "kwargs": {"batch_size": BATCH, "drop_last": True, "num_workers": 0},
        },
        "teacher": {**network, "requires_grad": False},
        "student": {**network, "requires_grad": True},
        "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": 0.9, "weight_decay": 5e-4}},
        "criterion": {
            "key": "WeightedSumLoss",
            "kwargs": {"sub_terms": {"kd": {"criterion": {"key": "KDLoss", "kwargs": loss}, "weight": 1.0}}},
        },
    }


def _ends(whole: dict[str, str]) -> list[tuple[str, str]]:
    return [("path", whole["module_path"]), ("io", whole["io"])]


def _spread(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):.2f}{unit} ({min(values):.2f} to {max(values):.2f})"


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
