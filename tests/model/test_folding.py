"""BatchNorms folded into the convolutions before them."""

import torch
from torch import nn

from torchloupe.model.folding import fold_norms


def make_network() -> nn.Sequential:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    network(torch.randn(8, 3, 6, 6) + 1)  # running statistics
    return network


def count_norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


IMAGES = torch.randn(2, 3, 6, 6)


def test_folded_network_gives_the_same_and_the_given_one_stays() -> None:
    network = make_network()
    folded = fold_norms(network, IMAGES)
    assert (count_norms(network), count_norms(folded)) == (1, 0)
    assert network.training
    assert not folded.training
    torch.testing.assert_close(folded(IMAGES), network.eval()(IMAGES), rtol=1e-4, atol=1e-5)


def test_norm_that_does_not_follow_its_convolution_stays() -> None:
    class Crossed(nn.Module):
        """Layers made in another order than they are used in."""

        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)
            nn.init.constant_(self.norm.running_mean, 2.0)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.conv(self.norm(images).relu())

    network = Crossed()
    folded = fold_norms(network, IMAGES)
    assert count_norms(folded) == 1
    assert torch.equal(folded(IMAGES), network.eval()(IMAGES))


def test_norm_of_another_width_or_without_statistics_stays() -> None:
    for norm in (nn.BatchNorm2d(4, track_running_stats=False), nn.BatchNorm2d(1)):
        plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(1, 2), nn.Unflatten(1, (4, 4)), norm)
        if norm.num_features == 1:
            plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(Mean(), norm))
        assert count_norms(fold_norms(plain, IMAGES)) == 1


class Mean(nn.Module):
    """One channel of several."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(1, keepdim=True)
