"""Zero-shot knowledge transfer: a generator searches for images on which student and teacher disagree."""

from collections.abc import Iterator
from typing import Annotated, Any, final

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from kdbench.hyperparameters import Tune
from kdbench.matrix.recipe import Adam, Cosine
from kdbench.methods.annotations import Weight
from kdbench.methods.losses import kl_divergence
from kdbench.methods.maps import aligned, attention_map
from kdbench.methods.requirements import same_classes
from kdbench.training.method import Batch, Method, OptimizerSpec, Output, Shapes, Step, Task
from kdbench.training.network import Frozen

LATENT = 100


@final
class ZSKT(Method):
    """`L_student = KL(p_t || p_s) + beta sum_l mean (Q_s - Q_t)^2`, and `L_generator = -KL(p_t || p_s)`.

    p are softmax outputs (B, K). Q (B, H W) are the attention maps of the stages l, as in `attention`; the mean is over
    images and pixels. Networks without feature maps train without that term. Images and labels of the batch are not
    read: the generator makes images of about zero mean and unit variance per channel, as the normalized images of the
    data set have. Every pass of the student updates the running statistics of its batch norms, as those are images
    like any other: one pass for the generator's step, one for each of its own.

    The authors average the KL over classes too, and the paper's numbers are made with that. Here it is the sum over
    classes, as everywhere in kdbench: `beta = 250 K` gives the authors' balance of the two terms.
    """

    cuda_graph_safe = True
    data = "none"
    paper = "Micaelli, Storkey, NeurIPS 2019, arXiv:1905.09768"

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        task: Task,
        *,
        student_steps: Annotated[int, Ge(1)] = 10,
        beta: Annotated[Weight, Tune(10, 5000, log=True)] = 250.0,
    ) -> None:
        super().__init__()
        self.student = student
        self.teacher = Frozen.of(teacher)
        self.generator = Generator(task.image_shape)
        self.batch_size = task.batch_size
        self.student_steps = student_steps
        self.beta = beta

    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield a step of the generator ("adversarial"), then `student_steps` of the student ("kl" and "at")."""
        noise = torch.randn(self.batch_size, LATENT, device=next(self.generator.parameters()).device)
        images = self.generator(noise)
        yield Step(
            {"adversarial": -kl_divergence(self.student(images).logits, self.teacher(images).logits)}, "generator"
        )
        with torch.no_grad():
            images = self.generator(noise)
        for _ in range(self.student_steps):
            yield Step(self._student_losses(self.student(images).float(), self.teacher(images).float()))

    def _student_losses(self, student: Output, teacher: Output) -> dict[str, Tensor]:
        terms = {"kl": kl_divergence(student.logits, teacher.logits)}
        differences = [
            (attention_map(s) - attention_map(t)).square().mean() for s, t in aligned(student.stages, teacher.stages)
        ]
        return {**terms, "at": self.beta * torch.stack(differences).sum()} if differences else terms

    def players(self) -> dict[str, nn.Module]:
        """Return the student and the generator."""
        return {"student": self.student, "generator": self.generator}

    def optimizers(self) -> dict[str, OptimizerSpec]:
        """Return the paper's training of both players: Adam on a cosine schedule, gradients clipped at norm 5."""
        return {
            "generator": OptimizerSpec(optimizer=Adam(lr=1e-3), schedule=Cosine(), grad_clip_norm=5.0),
            "student": OptimizerSpec(optimizer=Adam(lr=2e-3), schedule=Cosine(), grad_clip_norm=5.0),
        }

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Return that the classes differ from the teacher's."""
        return same_classes(student, teacher)


@final
class Generator(nn.Module):
    """Noise (B, 100) to images (B, C, H, W), at a quarter, a half and then all of the height and width.

    The last batch norm gives every channel zero mean and unit variance at the start.
    """

    def __init__(self, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels, height, width = image_shape
        (top, left), *self.sizes = [(-(-height // part), -(-width // part)) for part in (4, 2, 1)]
        self.project = nn.Sequential(nn.Linear(LATENT, 128 * top * left), nn.Unflatten(1, (128, top, left)))
        self.upsample = nn.ModuleList([_block(128, 128), _block(128, 64)])
        self.to_images = nn.Sequential(nn.Conv2d(64, channels, 3, padding=1), nn.BatchNorm2d(channels))

    def forward(self, noise: Tensor) -> Tensor:
        """Return images (B, C, H, W) in float32 for noise (B, 100)."""
        maps = self.project(noise)
        for size, block in zip(self.sizes, self.upsample, strict=True):
            maps = block(F.interpolate(maps, size))
        images: Tensor = self.to_images(maps)
        return images.float()


def _block(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.BatchNorm2d(out), nn.LeakyReLU(0.2))
