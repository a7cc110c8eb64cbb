"""UserObjects by name: what loads, what stays untouched, and what each mistake says."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from torchloupe.errors import DataError, UsageError
from torchloupe.system.user_code import (
    Carried,
    is_from_named_code,
    is_object_spec,
    load_object,
    naming_errors,
    where_raised,
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_load_object_gives_the_class_of_a_file(tmp_path):
    write(tmp_path, "net.py", "class Net:\n    width = 3\n")
    assert load_object(f"{tmp_path}/net.py:Net", "model").width == 3
    assert load_object(f"{tmp_path}/net.py:Net.width", "model") == 3


def test_load_object_imports_siblings_and_restores_the_path(tmp_path):
    write(tmp_path, "sizes.py", "WIDTH = 7\n")
    write(tmp_path, "parts/blocks.py", "DEPTH = 5\n")
    write(
        tmp_path,
        "net.py",
        "from parts.blocks import DEPTH\nfrom sizes import WIDTH\nN = WIDTH * DEPTH",
    )
    before = list(sys.path)
    assert load_object(f"{tmp_path}/net.py:N", "model") == 35
    assert sys.path == before
    assert not list(tmp_path.rglob("__pycache__"))


def test_load_object_keeps_siblings_of_two_folders_apart(tmp_path):
    for folder, width in (("a", 1), ("b", 2)):
        write(tmp_path / folder, "layers.py", f"WIDTH = {width}\n")
        write(tmp_path / folder, "net.py", "from layers import WIDTH\n")
    assert load_object(f"{tmp_path}/a/net.py:WIDTH", "model") == 1
    assert load_object(f"{tmp_path}/b/net.py:WIDTH", "model") == 2


def test_load_object_runs_a_file_once_until_it_changes(tmp_path):
    path = write(tmp_path, "net.py", "class Net: pass\n")
    spec = f"{path}:Net"
    first = load_object(spec, "model")
    assert load_object(spec, "model") is first
    assert type(pickle.loads(pickle.dumps(first()))) is first
    write(tmp_path, "net.py", "class Net:\n    changed = True\n")
    assert load_object(spec, "model").changed


def test_load_object_leaves_an_installed_module_of_the_same_name_alone(tmp_path):
    write(tmp_path, "torch.py", "import json\nMINE = json.dumps(1)\n")
    before = sys.modules.get("torch")
    assert load_object(f"{tmp_path}/torch.py:MINE", "model") == "1"
    assert sys.modules.get("torch") is before


def test_load_object_gives_an_attribute_of_a_module(tmp_path, monkeypatch):
    assert load_object("collections:OrderedDict", "model").__name__ == "OrderedDict"
    write(tmp_path, "only_here_xyz/net.py", "X = 4\n")
    monkeypatch.chdir(tmp_path)
    assert load_object("only_here_xyz.net:X", "model") == 4


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        (
            "Nett",
            "import os\nclass Net: pass\n",
            "model {file}:Nett: {file} defines no 'Nett'",
            "did you mean 'Net'?",
        ),
        (
            "Net",
            "x = 1\nraise ValueError('no\\nluck')\n",
            "model {file}:Net can't be loaded: {file}, line 2: ValueError: no\\nluck",
            "make `python` run that file first; --traceback shows the whole chain",
        ),
        (
            "Net",
            "x = 1\n\nclass Net(\n",
            "model {file}:Net can't be loaded: {file}, line 3: SyntaxError: '(' was never closed",
            "make `python` run that file first; --traceback shows the whole chain",
        ),
        (
            "Net",
            "import sys\nsys.exit(3)\n",
            "model {file}:Net can't be loaded: {file}, line 2: SystemExit: 3",
            "make `python` run that file first; --traceback shows the whole chain",
        ),
        (
            "Net",
            "import not_a_module_xyz\n",
            "model {file}:Net can't be loaded: {file}, line 1: "
            "ModuleNotFoundError: No module named 'not_a_module_xyz'",
            "make `python` run that file first; --traceback shows the whole chain",
        ),
    ],
)
def test_load_object_names_the_mistake_in_a_file(tmp_path, monkeypatch, name, text, message, hint):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path.resolve(), "net.py", text)
    before = set(sys.modules)
    with pytest.raises(UsageError) as caught:
        load_object(f"{path}:{name}", "model")
    assert caught.value.message == message.format(file=path)
    assert caught.value.hint == hint
    if "defines" not in message:
        assert set(sys.modules) == before


def test_load_object_names_the_line_in_the_sibling_that_failed(tmp_path):
    write(tmp_path, "parts.py", "\n\nWIDTH = 1 / 0\n")
    write(tmp_path, "net.py", "import parts\n")
    with pytest.raises(UsageError, match=r"parts\.py, line 3: ZeroDivisionError: division by zero"):
        load_object(f"{tmp_path}/net.py:Net", "model")


def test_load_object_lets_an_error_of_torchloupe_pass(tmp_path):
    write(
        tmp_path,
        "data.py",
        "from torchloupe.errors import DataError\nraise DataError('empty', 'add images')\n",
    )
    with pytest.raises(DataError, match="empty"):
        load_object(f"{tmp_path}/data.py:train", "dataset")


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("nt.py:Net", "model nt.py:Net: there is no file nt.py", "did you mean 'net.py'?"),
        ("net.py", "model 'net.py' doesn't say which object: it takes file.py:NAME",
         "for example net.py:Net"),
        ("Net", "model 'Net' doesn't say which object: it takes file.py:NAME",
         "for example my_code.py:Name"),
        ("net.py:", "model 'net.py:' doesn't say which object: it takes file.py:NAME",
         "for example my_code.py:Name"),
        ("no.such.module:Net", "model no.such.module:Net: there is no module named no",
         "for a file, write its path: folder/file.py:Name"),
        ("folder.py:Net", "model folder.py:Net: there is no file folder.py", "known: net.py"),
        ("a\0b.py:Net", "model a\\x00b.py:Net: there is no file a\\x00b.py", "known: net.py"),
        ("notes.txt/x:Net", "model notes.txt/x:Net: there is no file notes.txt/x",
         "give the path of a Python file: file.py:Name"),
    ],
)  # fmt: skip
def test_load_object_names_what_a_wrong_spec_lacks(tmp_path, monkeypatch, spec, message, hint):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "net.py", "import os\nclass Net: pass\n_hidden = 1\n")
    write(tmp_path, "notes.txt", "")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError) as caught:
        load_object(spec, "model")
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_load_object_lets_ctrl_c_through(tmp_path):
    write(tmp_path, "net.py", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        load_object(f"{tmp_path}/net.py:Net", "model")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("my_data.py:train", True),
        ("my_data.py", True),
        ("torch.nn:Linear", True),
        ("digits", False),
        ("photos/", False),
        ("a,b:c/d", False),
        ("", False),
    ],
)
def test_is_object_spec_tells_code_from_paths(text, answer):
    assert is_object_spec(text) is answer


def test_load_object_gives_up_nothing_on_the_way(tmp_path):
    write(tmp_path, "net.py", "import os\nos.environ['LOUPE_SEEN'] = '1'\nNet = 1\n")
    flag = sys.dont_write_bytecode
    load_object(f"{tmp_path}/net.py:Net", "model")
    assert os.environ.pop("LOUPE_SEEN") == "1"
    assert sys.dont_write_bytecode == flag


HOOK = """
import torch

def fail(x):
    return helper(x)

def helper(x):
    return torch.zeros(2).reshape(x)

def ours(x):
    from torchloupe.errors import DataError
    raise DataError("empty", "add images")
"""


def test_naming_errors_names_file_and_line_of_a_hook(tmp_path):
    path = write(tmp_path.resolve(), "hooks.py", HOOK)
    spec = f"{path}:fail"
    hook = naming_errors(load_object(spec, "hook"), spec, "hook")
    assert hook.__name__ == "fail"
    with pytest.raises(UsageError) as caught:
        hook((3, 3))
    assert caught.value.message == (
        f"hook {spec} fails at {path}, line 8: RuntimeError: shape '[3, 3]' is invalid for input "
        "of size 2"
    )
    assert caught.value.hint == "fix it there; --traceback shows the whole chain"
    assert hook((2,)).shape == (2,)
    with pytest.raises(DataError, match="empty"):
        naming_errors(load_object(f"{path}:ours", "hook"), spec, "hook")(1)


def test_error_is_from_named_code_only_where_it_passed_through_some(tmp_path):
    def error_of(call):
        with pytest.raises(RuntimeError) as caught:
            call()
        return caught.value

    path = write(tmp_path.resolve(), "net.py", HOOK)
    fail = load_object(f"{path}:fail", "model")
    own, other = error_of(lambda: fail((3, 3))), error_of(lambda: exec("raise RuntimeError"))
    assert is_from_named_code(own)
    assert not is_from_named_code(other)
    assert where_raised(own) == f"{path}, line 8"
    assert where_raised(other).startswith(f"{__file__}, line ")


def test_a_carried_object_needs_its_own_file_alone(tmp_path):
    spoilt = write(tmp_path, "spoilt.py", "class Spoilt:\n    side = 1\n")
    gone = write(tmp_path, "gone.py", "class Gone:\n    side = 2\n")
    own = write(tmp_path, "own.py", "class Own:\n    side = 3\n")
    objects = [
        load_object(f"{path}:{path.stem.title()}", "model")() for path in (spoilt, gone, own)
    ]
    carried = [pickle.dumps(Carried(each)) for each in objects]
    for each in objects:
        del sys.modules[type(each).__module__]  # as in another process
    spoilt.write_text("raise RuntimeError('this was run')\n")
    gone.unlink()
    assert pickle.loads(carried[2]).value.side == 3
    for one, file in zip(carried, (spoilt, gone), strict=False):
        with pytest.raises(UsageError, match=file.name):
            pickle.loads(one)
