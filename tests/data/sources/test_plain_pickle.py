"""Pickles of arrays and texts are read without running what they name."""

import io
import os
import pickle

import numpy as np
import pytest

from torchloupe.data.sources.plain_pickle import PickleRefused, read_plain_pickle

PYTHON_2 = (  # {'data': array([[1, 2]], uint8), 'labels': [3]} as Python 2 with numpy 1 wrote it
    b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04"
    b"K\x00\x85U\x01b\x87Rq\x05(K\x01K\x01K\x02\x86cnumpy\ndtype\nq\x06U\x02u1K\x00K\x01\x87Rq\x07"
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x02\x01\x02tbU\x06labelsq\x08]"
    b"q\x09K\x03au."
)


def read(content):
    return read_plain_pickle(io.BytesIO(content))


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_plain_pickles_of_every_protocol_are_read(protocol, order):
    array = np.asarray(np.arange(12, dtype=np.float32).reshape(3, 4), order=order)
    kept = {
        "a": array,
        b"b": [1, 2, "x"],
        "c": [np.arange(3)],
        "d": np.float64(0.5),
        "e": np.array(["x", "yz"]),
    }
    found = read(pickle.dumps(kept, protocol=protocol))
    assert (found["a"] == array).all()
    assert found["a"].dtype == np.float32
    assert found[b"b"] == [1, 2, "x"]
    assert found["c"][0].tolist() == [0, 1, 2]
    assert found["d"] == 0.5
    assert found["e"].tolist() == ["x", "yz"]


def test_plain_pickles_of_python_2_are_read():
    found = read(PYTHON_2)
    assert found[b"data"].tolist() == [[1, 2]]
    assert found[b"labels"] == [3]


class Evil:
    """Pickled, it would make a folder when it is loaded."""

    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (Evil((os.mkdir, ("sprung",))), "it names posix.mkdir, which could run code"),
        (Evil((eval, ("1+1",))), ".eval, which could run code"),
        (Evil((np.load, ("x",))), "it names numpy.load, which could run code"),
        (Evil((np.ndarray, ((10**12,),))), "it makes an array without values"),
        (np.array([{}], dtype=object), "it holds an array of type O8"),
        (np.ndarray, "it holds a function"),
        (Evil((np.dtype, ("O",))), "it holds an array of type O"),
        ({1, 2}, None),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_pickles_refuse_all_else(tmp_path, monkeypatch, value, reason, protocol):
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(value, protocol=protocol)
    if reason is None and protocol == 4:
        assert read(content) == value
        return
    with pytest.raises(PickleRefused) as caught:
        read(content)
    if reason is not None:
        assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no pickle",
        PYTHON_2[:40],
        PYTHON_2.replace(b"K\x01K\x02\x86", b"K\x01K\x09\x86"),  # a shape that its bytes don't fill
        # BUILD on a function: it would set an attribute of it
        b"\x80\x02c_codecs\nencode\nN}U\x01aK\x01s\x86b.",
        b"\x80\x02cnumpy\ndtype\n)\x81.",  # NEWOBJ of what is no class
        b"\x80\x02Pthing\n.",  # a persistent id
    ],
)
def test_plain_pickles_that_are_damaged_or_hostile_are_refused(content):
    with pytest.raises(PickleRefused):
        read(content)
