"""One run of a cohort while it trains: its method, optimizers, random state, history and error."""

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
from kdbench.training.evaluation import drop_probability_metrics
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
    """The best validation epoch so far, and the first of equal ones, with the deployed networks' weights.

    `epoch` counts from 1 and is 0 before the first validation; `score` is what `recipe.monitor` selects: the accuracy
    or the negative loss.
    """

    epoch: int = 0
    score: float = -math.inf
    weights: States = field(default_factory=dict)


@final
class Member:
    """A run of a cohort. It does not depend on the other members.

    Args:
        name: the run's id.
        method: the method with its networks.
        recipe: the run's recipe.
        seed: the run's seed.
        recorder: captures the steps in a graph, if the method is `cuda_graph_safe`.

    Raises:
        MethodError: players share a parameter, or `optimizers()` names an unknown player.
    """

    def __init__(
        self, name: str, method: Method, recipe: Recipe, seed: int, recorder: GraphRecorder | None = None
    ) -> None:
        self.name = name
        self.method = method
        self.recipe = recipe
        self.optimizers = _make_optimizers(method, recipe)
        self.history: list[EpochRow] = []
        self.best = Best()
        self.error: BaseException | None = None
        self.is_finished = False
        self.student_steps = 0  # in all finished epochs
        self._network = next(iter(method.deployed().values()))
        self._watch = Stopwatch(self.device)
        self._steps = StepRunner(method, self.optimizers, recipe.precision)
        can_capture = method.cuda_graph_safe and not any(one.cycles_momentum for one in self.optimizers.values())
        self._recorder = recorder if can_capture else None  # a captured step repeats the momentum of its capture
        self._graphed = GraphedSteps(self._steps, self._recorder) if self._recorder else None
        self._rng = IsolatedRNG(derive_seed(seed, "member"), self.device)
        self._lr = 0.0  # of the last batch, of the first player

    @property
    def device(self) -> torch.device:
        """The device of its networks."""
        return next(self._network.parameters()).device

    @property
    def seconds(self) -> float:
        """The time of its own steps."""
        return self._watch.seconds

    @property
    def uses_cuda_graph(self) -> bool:
        """Whether its steps are to be captured; then all batches must be in the same tensors."""
        return self._graphed is not None

    @property
    def is_captured(self) -> bool:
        """Whether its steps have been captured."""
        return self._graphed is not None and self._graphed.is_captured

    @property
    def is_training(self) -> bool:
        """Whether it trains on further batches."""
        return self.error is None and not self.is_finished

    def deployed_weights(self) -> States:
        """Return a copy of the weights of all deployed networks."""
        return {
            name: {key: value.detach().clone() for key, value in network.state_dict().items()}
            for name, network in self.method.deployed().items()
        }

    def state_dict(self, shared: Collection[nn.Module]) -> dict[str, Any]:
        """Return the state with which `load_state_dict` continues bit for bit, without the weights of `shared`."""
        return {
            "method": _own_state(self.method, shared),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "rng": self._rng.state_dict(),
            "history": self.history,
            "best": [self.best.epoch, self.best.score, self.best.weights],
            "seconds": self.seconds,
            "student_steps": self.student_steps,
        }

    def load_state_dict(self, state: Mapping[str, Any], shared: Collection[nn.Module]) -> None:
        """Restore what `state_dict` returned for the same shared modules.

        Raises:
            TrainingError: the state belongs to another method or network.
        """
        if state["method"].keys() != _own_state(self.method, shared).keys():
            raise TrainingError(f"{self.name}: the checkpoint belongs to another method or network")
        self.method.load_state_dict(state["method"], strict=False)
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self._rng.load_state_dict(state["rng"])
        self.history = state["history"]
        self.best = Best(*state["best"])
        self._watch.set(state["seconds"])
        self.student_steps = state["student_steps"]

    def start_epoch(self) -> None:
        """Set training mode, in which frozen networks stay in eval mode, and reset the means of the losses."""
        self.method.train()
        self._steps.reset()

    def train_batch(self, batch: Batch) -> None:
        """Run the optimizer steps of one batch; an exception ends this run and no other.

        Raises:
            MemoryError, RuntimeError: out of memory, which other members may have caused.
        """
        try:
            with self._on_own_stream(), self._watch.running(), self._rng.active(), torch.enable_grad():
                for optimizer in self.optimizers.values():
                    optimizer.set_lr(batch.progress, batch.share)
                self._lr = next(iter(self.optimizers.values())).lr(batch.progress, batch.share)
                (self._graphed or self._steps)(batch)
        except Exception as error:  # any error of a method is an error of this run, not of its cohort
            if is_out_of_memory(error):
                raise
            clear_frames(error)  # they hold the batch's autograd graphs, and the other members need the memory
            self.error = error
        if not self.is_captured:  # eager steps may fill the cache of a frozen network that other members read
            self.synchronize()

    def synchronize(self) -> None:
        """Make later work on the device wait for this member's steps."""
        if self._recorder:
            self._recorder.synchronize()

    def _on_own_stream(self) -> AbstractContextManager[None]:
        return self._recorder.on_own_stream() if self._recorder else nullcontext()

    def end_epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        """Add the epoch to the history and update the best epoch, the plateau schedule and early stopping.

        A loss or score that is not finite ends the run with a `NotFiniteError`.

        Args:
            epoch: the epoch, counted from 0; the history counts from 1.
            scores: columns of the history; validation is in `val_accuracy` and `val_nll`.
        """
        means = self._steps.means()
        self.student_steps += self._steps.student_steps
        number = epoch + 1  # counted from 1
        shown = scores if self.method.calibrated else drop_probability_metrics(scores)
        self.history.append({"epoch": number, "lr": self._lr, "seconds": self.seconds, **means, **shown})
        not_finite = _not_finite(means) or _not_finite(scores)
        if not_finite:
            self.error = NotFiniteError(
                f"epoch {number}: {', '.join(not_finite)} became NaN or infinite; lower the learning rate or the "
                "weight of this term, or set recipe.grad_clip_norm"
            )
        elif "val_accuracy" in scores:
            self._observe(number, scores["val_accuracy"] if self.recipe.monitor == "accuracy" else -scores["val_nll"])

    def _observe(self, epoch: int, score: float) -> None:
        """Update the best epoch by a score, of which a higher one is better; nothing else reads the score."""
        if score > self.best.score:
            self.best = Best(epoch, score, self.deployed_weights())
        for optimizer in self.optimizers.values():
            optimizer.observe(is_best=self.best.epoch == epoch)
        stopping = self.recipe.early_stopping
        self.is_finished = stopping is not None and epoch - self.best.epoch >= stopping.patience


def _make_optimizers(method: Method, recipe: Recipe) -> dict[str, PlayerOptimizer]:
    players, specs = method.players(), method.optimizers()
    for name in specs:
        if name not in players:
            raise MethodError(
                f"optimizers() names the player '{name}', which players() does not return; "
                f"{did_you_mean(name, players)}"
            )
    optimizers = {
        name: PlayerOptimizer(player, recipe, specs.get(name, OptimizerSpec())) for name, player in players.items()
    }
    if any(count > 1 for count in Counter(p for each in optimizers.values() for p in each.parameters).values()):
        raise MethodError(f"the players {sorted(players)} share a parameter; each parameter must train with one player")
    return optimizers


def _own_state(method: Method, shared: Collection[nn.Module]) -> dict[str, Any]:
    """Return a method's state dict without the entries of the modules in `shared`."""
    prefixes = [f"{name}." for name, module in method.named_modules(remove_duplicate=False) if module in shared]
    return {key: value for key, value in method.state_dict().items() if not key.startswith(tuple(prefixes))}


def _not_finite(values: Mapping[str, float]) -> list[str]:
    return sorted(name for name, value in values.items() if not math.isfinite(value))
