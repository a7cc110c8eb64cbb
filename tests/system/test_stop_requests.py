"""What signals and the clock ask of a run, alone and among ranks."""

import os
import signal
import threading

import pytest

from torchloupe.system.stop_requests import StopRequests

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_first_signal_asks_for_a_stop_and_says_so_once(number: int) -> None:
    requests, said = StopRequests(), []
    with requests.listening(said.append):
        assert requests.stop_signal == 0
        send(number)
        assert requests.stop_signal == number
        send(signal.SIGTERM)  # a second one but for Ctrl-C changes nothing
    assert requests.stop_signal == number
    assert said == ["stopping after this step; its checkpoint will be written"]


def test_second_ctrl_c_is_at_once() -> None:
    requests = StopRequests()
    with pytest.raises(KeyboardInterrupt), requests.listening(lambda _: None):
        send(signal.SIGINT)
        send(signal.SIGINT)


def test_handlers_are_put_back() -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    with StopRequests().listening(lambda _: None):
        assert [signal.getsignal(number) for number in numbers] != before
    assert [signal.getsignal(number) for number in numbers] == before


def test_checkpoint_asked_for_is_wanted_until_it_is_taken() -> None:
    requests = StopRequests()
    with requests.listening(lambda _: None):
        assert not requests.save
        send(signal.SIGUSR1)
        assert requests.save
        assert requests.stop_signal == 0
    requests.forget_save()
    assert not requests.save


def test_clock_asks_for_a_checkpoint_where_it_was_told_to() -> None:
    assert StopRequests(save_every_seconds=1e-9).save
    assert not StopRequests(save_every_seconds=1e9).save
    assert not StopRequests().save


def test_wish_of_a_rank_counts_once_all_agreed() -> None:
    requests = StopRequests(save_every_seconds=1e-9, ranks=2)
    requests.received_signal = signal.SIGTERM
    assert requests.pending() == [signal.SIGTERM, 1]
    assert (requests.stop_signal, requests.save) == (0, False)
    requests.agree_on([signal.SIGTERM, 1])
    assert (requests.stop_signal, requests.save) == (signal.SIGTERM, True)
    requests.forget_save()
    assert (requests.stop_signal, requests.save) == (signal.SIGTERM, False)


def test_signals_are_left_alone_in_another_thread() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def listen() -> None:
        with StopRequests().listening(lambda _: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]
