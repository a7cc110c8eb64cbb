"""Models that people write, each with one thing that matters."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Small(nn.Module):
    """A sound model for images of 3 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.middle(self.body(x)))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x


class Tutorial(nn.Module):
    """Two convolutions and a view, as in many tutorials."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 6, 5)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc = nn.Linear(16 * 5 * 5, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        return self.fc(x.view(-1, 16 * 5 * 5))


class PlainList(Small):
    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(8, 8) for _ in range(2)]

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[1](self.layers[0](x))


class PlainDict(Small):
    def __init__(self) -> None:
        super().__init__()
        self.heads = {"a": nn.Linear(8, 8)}

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.heads["a"](x)


class ListedTwice(Small):
    """A list of layers that are registered as well, which is fine."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(8, 8)
        self.layers = [self.one, nn.ReLU()]

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[1](self.layers[0](x))


class MadeInForward(Small):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return nn.Dropout(0.5)(x)


class PlainTensor(Small):
    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(8, requires_grad=True)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class ListOfParameters(Small):
    def __init__(self) -> None:
        super().__init__()
        self.scales = [nn.Parameter(torch.ones(8))]

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scales[0]


class RandomProjection(Small):
    """A constant that is drawn anew by each constructor."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = torch.randn(8, 8)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.projection


class Memory(Small):
    """Running numbers outside any buffer, which a trial already changes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0.0

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen = self.seen + 1.0
        return x + self.seen


class SoftmaxOverBatch(Small):
    def __init__(self) -> None:
        super().__init__()
        self.softmax = nn.Softmax(dim=0)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.softmax(x)


class BatchStatistics(Small):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x)


class GroupStatistics(Small):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 8)
        self.running = nn.BatchNorm1d(8)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.running(self.norm(x))


class DividedByBatch(Small):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x / len(x)


class Squeezed(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).squeeze()


class WithoutGradient(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return super().forward(x)


class Detached(Small):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x.detach()


class AlwaysDropping(Small):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return F.dropout(x)


class AttendsWithDropout(Small):
    """Attention whose dropout_p no mode switches off."""

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(-1, 1, 2, 4)
        return F.scaled_dot_product_attention(x, x, x, dropout_p=0.5).reshape(-1, 8)


class Noise(nn.Module):
    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.generator is None:
            return x + 0.1 * torch.randn_like(x)
        return x + 0.1 * torch.randn(x.shape, generator=self.generator)


class Noisy(Small):
    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.noise = Noise(generator)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.noise(x)


class RarelyDropping(Small):
    """Leaves whole images out, each with a small chance."""

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x * (torch.rand(len(x), 1) > 0.1)


class DrawsForNothing(Small):
    """Draws in eval mode without using it there, as sampling layers do."""

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        noise = torch.rand(8)
        return x + noise if self.training else x


class NumpyNoise(Small):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(np.random.rand())


class OwnTrain(Small):
    """Its `train` passes on to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(x)

    def train(self, mode: bool = True) -> "OwnTrain":
        self.training = mode
        return self


class NormInTraining(Small):
    """Puts its BatchNorm into training mode in each forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.body[1].train()
        return super().forward(x)


class NormByHand(Small):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, None, None, training=True)


class Frozen(Small):
    def __init__(self) -> None:
        super().__init__()
        self.requires_grad_(False)


class Complex(Small):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(8, dtype=torch.complex64))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return (x * self.weight).abs()


class Masked(Small):
    """Buffers that are infinite or NaN by design."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))
        self.register_buffer("none", torch.full((3,), float("nan")))


class ExtraState(Small):
    def __init__(self, state: object = None) -> None:
        super().__init__()
        self.state = {"seen": [1, 2.5, "x", None], "t": torch.ones(2)} if state is None else state

    def get_extra_state(self) -> object:
        return self.state

    def set_extra_state(self, state: object) -> None:
        self.state = state


class Versioned(Small):
    """Refuses a state dict without versions, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args) -> None:
        if local_metadata.get("version") != 2:
            raise ValueError(f"version {local_metadata.get('version')}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.LazyConv2d(8, 3)
        self.norm = nn.LazyBatchNorm2d()
        self.fc = nn.LazyLinear(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.conv(x)).relu().flatten(1))


class Keeping(Small):
    """Keeps an activation, with its graph."""

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        self.features = x
        return x


class LastSeen(Small):
    """A buffer that forward sets to what it has just seen."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("last", torch.zeros(8))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        self.last = x.detach().mean(dim=0)
        return x


class CachedScale(Small):
    """Makes a tensor once for each batch size, wherever it is first needed, and keeps it."""

    cache: torch.Tensor | None = None

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        if self.cache is None or len(self.cache) != len(x):
            self.cache = torch.full((len(x), 1), 2.0)
        return x * self.cache


class CachedBias(Small):
    """Keeps in eval mode what it computed from a weight, until it is trained again."""

    def __init__(self) -> None:
        super().__init__()
        self.bias, self.cache = nn.Parameter(torch.zeros(8)), None

    def train(self, mode: bool = True) -> "CachedBias":
        if mode:
            self.cache = None
        return super().train(mode)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            return x + self.bias.exp()
        if self.cache is None:
            self.cache = self.bias.exp()
        return x + self.cache


class Merging(Small):
    """A low-rank addition to a layer, which is added to its weight in eval mode (LoRA)."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(2, 8) / 3)
        self.up = nn.Parameter(torch.full((4, 2), 0.1))
        self.is_merged = False

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if mode == self.is_merged:
            with torch.no_grad():
                self.fc.weight += (-1 if mode else 1) * self.up @ self.down
            self.is_merged = not mode
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body(x)
        return self.fc(x) if self.is_merged else self.fc(x) + x @ (self.up @ self.down).t()


class Annealed(Small):
    """A factor that shrinks with each forward, in eval mode, too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("factor", torch.ones(()))

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        self.factor *= 0.99
        return x * self.factor


class SparseRows(Small):
    """An embedding whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(4, 8, sparse=True)

    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.rows((x.sum(dim=1) > 0).long())


class Logarithm(Small):
    def middle(self, x: torch.Tensor) -> torch.Tensor:
        return (x - 100).log()


class Softmax(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).softmax(1)


class Ending(Small):
    """Its outputs go through `end(logits, training)`."""

    def __init__(self, end, outputs: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(8, outputs)
        self.end = end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(super().forward(x), self.training)


class PaddedTokens(nn.Module):
    """A transformer with a padding mask: in eval mode torch passes nested tensors along."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 8, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 2)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        padding = torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device)
        padding[:, -4:] = True
        return self.fc(self.body(x, src_key_padding_mask=padding)[:, :4].mean(dim=1))


class JaggedTokens(nn.Module):
    """Tokens in one jagged tensor, as for images of different sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix, self.fc = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        count, tokens, width = x.shape
        offsets = torch.arange(0, count * tokens + 1, tokens, device=x.device)
        jagged = torch.nested.nested_tensor_from_jagged(x.reshape(-1, width), offsets=offsets)
        mixed = self.mix(jagged).relu()
        return self.fc(mixed.to_padded_tensor(0.0, output_size=(count, tokens, width)).mean(dim=1))


class ToSparse(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.to_sparse()


class SparseFeatures(nn.Module):
    """A layer that gives a sparse tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 8, 8), nn.ReLU(), nn.Flatten())
        self.sparse, self.fc = ToSparse(), nn.Linear(8 * 16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sparse.mm(self.sparse(self.body(x)), self.fc.weight.t()) + self.fc.bias
