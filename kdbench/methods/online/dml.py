"""Deep mutual learning: networks that train from scratch and teach one another."""

from collections.abc import Iterable, Iterator, Mapping
from typing import final

import torch
from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.methods.losses import cross_entropy, kl_divergence
from kdbench.methods.modules import constant_statistics
from kdbench.training.method import Batch, Method, Step


@final
class DML(Method):
    """`L_i = CE(z_i, y) + 1 / (M - 1) sum_{j != i} KL(softmax(z_j) || softmax(z_i))`, M networks, logits z (B, K).

    No gradient runs through z_j. This is Algorithm 1 of the paper: the networks step in turn, and the outputs of one
    that has stepped are computed again before the next one steps. The authors' code steps all networks at once and
    omits 1 / (M - 1); with two networks only the first makes a difference. Only the first pass of a batch updates the
    running statistics of batch norms.

    All networks are deployed, the student first.

    Raises:
        MethodError: there is no peer.
    """

    cuda_graph_safe = True
    version = 2
    paper = "Zhang, Xiang, Hospedales, Lu, CVPR 2018, arXiv:1706.00384"

    def __init__(self, student: nn.Module, peers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.student = student
        self.peers = nn.ModuleList(peers)
        if not self.peers:
            raise MethodError("dml trains the student with at least one peer, got none; give peers=[network, ...]")

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield one step per network, the student first, with the terms "ce" and "kl"."""
        pending = self.players()
        logits: dict[str, Tensor] = {name: network(batch.images).logits for name, network in pending.items()}
        for name in tuple(pending):
            yield Step(_losses(name, logits, batch.labels), name)
            stepped = pending.pop(name)
            if pending:
                with torch.no_grad(), constant_statistics(stepped):
                    logits[name] = stepped(batch.images).logits

    def players(self) -> dict[str, nn.Module]:
        """Return "student", "peer1", "peer2", ..."""
        return {"student": self.student, **{f"peer{i}": peer for i, peer in enumerate(self.peers, start=1)}}

    def deployed(self) -> dict[str, nn.Module]:
        """Return every network, the student first."""
        return self.players()


def _losses(name: str, logits: Mapping[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
    divergences = [kl_divergence(logits[name], other.detach()) for peer, other in logits.items() if peer != name]
    return {"ce": cross_entropy(logits[name], labels), "kl": torch.stack(divergences).mean()}
