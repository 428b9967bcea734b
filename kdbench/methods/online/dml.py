"""Deep mutual learning: networks that train from scratch and teach one another."""

from collections.abc import Iterable, Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.methods.losses import cross_entropy, kl_divergence
from kdbench.training.method import Batch, Method, Step


@final
class DML(Method):
    """L_i = CE(z_i, y) + 1 / (M - 1) sum_{j != i} KL(sg p_j || p_i) for M networks, p = softmax(z), logits (B, K).

    Algorithm 1 of the paper: the networks step in turn, and the outputs of one that has stepped are computed anew
    before the next one steps. (The authors' code steps all at once and leaves out 1 / (M - 1); with two networks only
    the first makes a difference.)

    Raises:
        MethodError: there is no peer.
    """

    paper = "Zhang, Xiang, Hospedales, Lu, CVPR 2018, arXiv:1706.00384"
    cuda_graph_safe = True

    def __init__(self, student: nn.Module, peers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.student = student
        self.peers = nn.ModuleList(peers)
        if not self.peers:
            raise MethodError("dml trains the student with at least one peer, got none; give peers=[network, ...]")

    def steps(self, batch: Batch) -> Iterator[Step]:
        """One step a network, the student first; terms "ce" and "kl"."""
        waiting = self.players()
        logits: dict[str, Tensor] = {name: network(batch.images).logits for name, network in waiting.items()}
        for name in tuple(waiting):
            yield Step(_losses(name, logits, batch.labels), name)
            stepped = waiting.pop(name)
            if waiting:
                with torch.no_grad():
                    logits[name] = stepped(batch.images).logits

    def players(self) -> dict[str, nn.Module]:
        """The student, then "peer1", "peer2", ..."""
        return {"student": self.student, **{f"peer{i}": peer for i, peer in enumerate(self.peers, start=1)}}

    def deployed(self) -> dict[str, nn.Module]:
        """Every network; the student first."""
        return self.players()


def _losses(name: str, logits: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    others = [kl_divergence(logits[name], other.detach()) for peer, other in logits.items() if peer != name]
    return {"ce": cross_entropy(logits[name], labels), "kl": torch.stack(others).mean()}
