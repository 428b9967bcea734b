"""One run while it trains beside others: its method, optimizers, random stream, history and failure."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.errors import MethodError, NotFiniteError, TrainingError, did_you_mean
from kdbench.matrix.recipe import Recipe
from kdbench.training.cuda_graphs import GraphedSteps, GraphRecorder
from kdbench.training.memory import clear_frames, is_out_of_memory
from kdbench.training.method import Batch, Method, OptimizerSpec
from kdbench.training.optimizer import PlayerOptimizer
from kdbench.training.randomness import IsolatedRNG, derive_seed
from kdbench.training.step_runner import StepRunner
from kdbench.training.stopwatch import Stopwatch

EpochRow = dict[str, float | int | None]
States = dict[str, dict[str, Tensor]]


@final
@dataclass
class Best:
    """The best validation epoch so far: highest accuracy, then lowest loss; and the deployed' weights of then."""

    epoch: int = -1
    score: tuple[float, float] = (-1.0, 0.0)
    weights: States = field(default_factory=dict)


@final
class Member:
    """A run of a cohort. Nothing in it depends on the other members.

    With a `recorder`, the steps of a method that allows it are recorded and repeated.

    Raises:
        MethodError: the method's players share a parameter, or an optimizer is given for a player that is not there.
    """

    def __init__(
        self, name: str, method: Method, recipe: Recipe, seed: int, recorder: GraphRecorder | None = None
    ) -> None:
        self.name = name
        self.method = method
        self.recipe = recipe
        self.optimizers = _optimizers(method, recipe)
        self.history: list[EpochRow] = []
        self.best = Best()
        self.error: BaseException | None = None
        self.finished = False
        self._network = next(iter(method.deployed().values()))
        self._watch = Stopwatch(self.device)
        self._steps = StepRunner(method, self.optimizers, recipe.precision)
        self._recorder = recorder if method.cuda_graph_safe else None
        self._captured = GraphedSteps(self._steps, self._recorder) if self._recorder else None
        self._random = IsolatedRNG(derive_seed(seed, "member"), self.device)
        self._lowest_loss, self._waited = math.inf, 0

    @property
    def device(self) -> torch.device:
        """Where its networks are."""
        return next(self._network.parameters()).device

    @property
    def seconds(self) -> float:
        """How long its own steps took."""
        return self._watch.seconds

    @property
    def records(self) -> bool:
        """Whether its steps are to be recorded; then all batches must be the same tensors."""
        return self._captured is not None

    @property
    def is_captured(self) -> bool:
        """Whether its steps have been recorded and are repeated."""
        return self._captured is not None and self._captured.is_recorded

    @property
    def training(self) -> bool:
        """Whether it still takes batches."""
        return self.error is None and not self.finished

    def deployed(self) -> States:
        """A copy of the weights of all deployed."""
        return {
            name: {key: value.detach().clone() for key, value in network.state_dict().items()}
            for name, network in self.method.deployed().items()
        }

    def state(self, shared: Collection[nn.Module]) -> dict[str, Any]:
        """Everything that `resume` needs to go on bit for bit; the weights of the modules in `shared` are left out."""
        return {
            "method": _own_state(self.method, shared),
            "optimizers": {name: optimizer.state() for name, optimizer in self.optimizers.items()},
            "random": self._random.state(),
            "history": self.history,
            "best": [self.best.epoch, list(self.best.score), self.best.weights],
            "seconds": self.seconds,
            "judged": [self._lowest_loss, self._waited],
        }

    def resume(self, state: Mapping[str, Any], shared: Collection[nn.Module]) -> None:
        """Go on from what `state` gave for the same shared modules.

        Raises:
            TrainingError: it is the state of another method or network.
        """
        if state["method"].keys() != _own_state(self.method, shared).keys():
            raise TrainingError(f"{self.name}: the state to go on from is of another method or network")
        self.method.load_state_dict(state["method"], strict=False)
        for name, optimizer in self.optimizers.items():
            optimizer.resume(state["optimizers"][name])
        self._random.resume(state["random"])
        self.history = state["history"]
        epoch, score, weights = state["best"]
        self.best = Best(epoch, tuple(score), weights)
        self._watch.resume(state["seconds"])
        self._lowest_loss, self._waited = state["judged"]

    def start_epoch(self) -> None:
        """Everything that trains is put into training mode; frozen networks stay in eval mode."""
        self.method.train()
        self._steps.start_over()

    def take(self, batch: Batch) -> None:
        """Make the optimizer steps of one batch; an exception ends this run and no other."""
        try:
            with self._on_own_stream(), self._watch.running(), self._random.own(), torch.enable_grad():
                for optimizer in self.optimizers.values():
                    optimizer.set_lr(batch.progress)
                (self._captured or self._steps)(batch)
        except Exception as error:  # whatever a method raises is this run's failure, not its cohort's
            if is_out_of_memory(error):  # which may be the others' doing
                raise
            clear_frames(error)  # they hold the batch's graphs, and the others need the memory
            self.error = error
        if not self.is_captured:  # what it asked of a frozen network is there for the others, so they come after it
            self.synchronize()

    def synchronize(self) -> None:
        """Have what is asked of the device from now on wait for this member's steps."""
        if self._recorder:
            self._recorder.synchronize()

    def _on_own_stream(self) -> AbstractContextManager[None]:
        return self._recorder.on_own_stream() if self._recorder else nullcontext()

    def end_epoch(self, epoch: int, progress: float, scores: Mapping[str, float]) -> None:
        """Write the epoch's row: the mean size of every loss term, the rate, the scores; decide whether to go on.

        `scores` may hold `val_accuracy` and `val_nll`.
        """
        means = self._steps.means()
        lr = next(iter(self.optimizers.values())).lr(progress)
        self.history.append({"epoch": epoch, "lr": lr, "seconds": self.seconds, **means, **scores})
        broken = _not_finite(means) or _not_finite(scores)
        if broken:
            self.error = NotFiniteError(
                f"epoch {epoch}: {', '.join(broken)} became NaN or infinite; lower the learning rate or the weight of "
                "that term, or set recipe.grad_clip_norm"
            )
            return
        if "val_nll" in scores:
            self._judge(epoch, scores["val_accuracy"], scores["val_nll"])

    def _judge(self, epoch: int, accuracy: float, loss: float) -> None:
        for optimizer in self.optimizers.values():
            optimizer.observe(loss)
        if (accuracy, -loss) > self.best.score:
            self.best = Best(epoch, (accuracy, -loss), self.deployed())
        self._waited = 0 if loss < self._lowest_loss else self._waited + 1
        self._lowest_loss = min(loss, self._lowest_loss)
        stopping = self.recipe.early_stopping
        self.finished = stopping is not None and self._waited >= stopping.patience


def _optimizers(method: Method, recipe: Recipe) -> dict[str, PlayerOptimizer]:
    players, specs = method.players(), method.optimizers()
    for name in specs:
        if name not in players:
            raise MethodError(
                f"optimizers() names the player '{name}', whom players() does not; {did_you_mean(name, players)}"
            )
    made = {name: PlayerOptimizer(one, recipe, specs.get(name, OptimizerSpec())) for name, one in players.items()}
    if any(count > 1 for count in Counter(p for one in made.values() for p in one.parameters).values()):
        raise MethodError(f"the players {sorted(players)} share a parameter; each parameter trains with one player")
    return made


def _own_state(method: Method, shared: Collection[nn.Module]) -> dict[str, Any]:
    """A method's state without that of some modules inside it."""
    places = [f"{name}." for name, module in method.named_modules(remove_duplicate=False) if module in shared]
    return {key: value for key, value in method.state_dict().items() if not key.startswith(tuple(places))}


def _not_finite(values: Mapping[str, float]) -> list[str]:
    return sorted(name for name, value in values.items() if not math.isfinite(value))
