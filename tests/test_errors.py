from pathlib import Path

import pytest

from torchloupe import errors


def test_errors_carry_message_hint_and_exit_code():
    error = errors.DataError("class 'cat' has no images", "add some")
    assert (error.message, error.hint, error.exit_code) == (
        "class 'cat' has no images",
        "add some",
        3,
    )
    assert str(error) == "class 'cat' has no images\nhint: add some"


def test_every_error_has_an_exit_code_of_its_own():
    codes = [kind.exit_code for kind in errors.LoupeError.__subclasses__()]
    assert sorted(codes) == [2, 3, 4, 5, 6, 7, 130, 143]


def test_did_you_mean_names_near_misses_or_everything():
    assert errors.did_you_mean("adm", ["adam", "sgd"]) == "did you mean 'adam'?"
    assert errors.did_you_mean("zzz", ["b", "a"]) == "known: a, b"
    assert errors.did_you_mean("zzz", ["b"], otherwise="look again") == "look again"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("naïve 日本", "naïve 日本"),
        ("\u202eevil", "\\u202eevil"),
    ],
)
def test_printable_escapes_what_could_move_the_cursor(text, shown):
    assert errors.printable(text) == shown


def test_printable_caps_the_length():
    assert len(errors.printable("x" * 1_000_000)) == 200


def test_printable_keeps_a_path_whole_for_it_is_copied():
    path = Path("/data") / ("x" * 250) / "labels\n.csv"
    assert errors.printable(path, 80) == f"/data/{'x' * 250}/labels\\n.csv"


def test_interrupted_is_what_a_script_catches_for_ctrl_c():
    with pytest.raises(KeyboardInterrupt):
        raise errors.Interrupted("stopped by Ctrl-C", "go on")
    with pytest.raises(errors.LoupeError):
        raise errors.Interrupted("stopped by Ctrl-C", "go on")
    assert not issubclass(errors.Terminated, KeyboardInterrupt)
