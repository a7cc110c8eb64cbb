"""The loss of a student: its own loss on the labels, and how far it is from its teacher."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from torchloupe.model.shares import weighed


class Distillation(nn.Module):
    """(1 - w) loss(z, y) + w T^2 KL(softmax(t / T) || softmax(z / T)), averaged over images.

    z are the student's logits, t the teacher's, T the temperature, w the weight (Hinton, Vinyals
    and Dean 2015, section 2: T^2 keeps gradients alike for all T).
    """

    def __init__(
        self, loss: Callable[[Tensor, Tensor], Tensor], weight: float, temperature: float
    ) -> None:
        super().__init__()
        self.loss = loss
        self.weight = weight
        self.temperature = temperature
        # In micro-batches: the share of the loss on labels, in shares of the images. The teacher's
        # part counts each image alike, the other one may not (model/shares.py).
        self.ratio: float | Tensor = 1.0

    def forward(self, logits: Tensor, labels: Tensor, taught: Tensor) -> Tensor:
        """The loss (0-d) of logits [B, K] and the teacher's logits `taught` [B, K]."""
        own = F.log_softmax(logits.float() / self.temperature, dim=1)
        wanted = F.log_softmax(taught / self.temperature, dim=1)
        apart = F.kl_div(own, wanted, reduction="batchmean", log_target=True)
        from_teacher = self.weight * self.temperature**2 * apart
        if self.weight == 1:
            return from_teacher
        own_loss = weighed(self.loss(logits, labels), self.ratio)
        return (1 - self.weight) * own_loss + from_teacher
