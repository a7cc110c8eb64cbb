import pytest
import torch

from torchloupe.distributed.rank import Rank
from torchloupe.errors import ResourceError, UsageError
from torchloupe.hardware.device import choose_device, count_gpus, seed_step


def test_device_is_obeyed():
    choice = choose_device("cpu")
    assert choice.device == torch.device("cpu")
    assert choice.reason == "asked for"


def test_device_auto_says_why():
    choice = choose_device("auto")
    assert choice.device.type in ("cpu", "cuda", "mps")
    assert len(choice.reason) > 10


@pytest.mark.parametrize("asked", ["gpu", "", "cuda:x", "meta", "cpu\n"])
def test_device_that_is_no_device_is_refused(asked):
    with pytest.raises(UsageError, match="--device takes auto, cpu, cuda, cuda:N or mps"):
        choose_device(asked)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_device_that_is_not_there_is_refused():
    with pytest.raises(ResourceError, match="device cuda was asked for, but no CUDA device"):
        choose_device("cuda")


@pytest.mark.gpu
def test_device_beyond_the_last_is_refused():
    with pytest.raises(
        ResourceError, match=r"device cuda:99 was asked for, but this machine shows"
    ):
        choose_device("cuda:99")


def test_seed_step_makes_dropout_a_function_of_the_seed():
    drop, ones = torch.nn.Dropout(), torch.ones(100)
    seed_step(torch.device("cpu"), 5)
    first = drop(ones)
    seed_step(torch.device("cpu"), 5)
    assert torch.equal(first, drop(ones))
    seed_step(torch.device("cpu"), 6)
    assert not torch.equal(first, drop(ones))


@pytest.mark.gpu
def test_each_rank_has_the_gpu_of_its_number():
    assert choose_device("auto", Rank(0, 1, 0, 1)).device == torch.device("cuda", 0)
    with pytest.raises(UsageError, match="--device cuda:0 is one GPU, and 2 ranks"):
        choose_device("cuda:0", Rank(0, 2, 0, 2))
    with pytest.raises(ResourceError, match="device cuda:98 was asked for"):
        choose_device("auto", Rank(98, 99, 98, 99))
    assert count_gpus("all") == torch.cuda.device_count()


def test_more_gpus_than_there_are_are_refused():
    with pytest.raises(ResourceError, match="999 GPUs were asked for, and this machine shows"):
        count_gpus("999")
    assert count_gpus("999", at_most=True) == max(1, torch.cuda.device_count())
