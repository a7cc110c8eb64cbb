"""Sealed JSON: read back as it was written, and any change of it found."""

import pytest

from torchloupe.system.sealed import seal, unseal

CONTENT = {"name": "ü \udcff", "numbers": [1, 0.1, None], "files": {"a": "b"}}


@pytest.mark.parametrize("indent", [None, 1])
def test_unseal_gives_what_was_sealed(indent):
    assert unseal(seal(CONTENT, indent), indent) == (CONTENT, True)
    assert list(unseal(seal({"b": 1, "a": 2}))[0]) == ["b", "a"]


@pytest.mark.parametrize("indent", [None, 1])
def test_unseal_finds_every_changed_bit(indent):
    blob = seal(CONTENT, indent)
    for at in range(len(blob)):
        for bit in range(8):
            changed = blob[:at] + bytes([blob[at] ^ 1 << bit]) + blob[at + 1 :]
            try:
                content, is_whole = unseal(changed, indent)
            except (ValueError, KeyError, TypeError):
                continue
            assert not is_whole, content


def test_unseal_of_another_layout_is_not_whole():
    assert unseal(seal(CONTENT, 1)) == (CONTENT, False)
    assert unseal(seal(CONTENT) + b" ") == (CONTENT, False)


@pytest.mark.parametrize("blob", [b"", b"{", b"[]", b"1", b"{}", b'{"sha256"'])
def test_unseal_refuses_what_is_no_sealed_json(blob):
    with pytest.raises((ValueError, KeyError, TypeError)):
        unseal(blob)
