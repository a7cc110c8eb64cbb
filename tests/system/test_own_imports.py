"""Files that are part of a package, or import from the folders of their project."""

import sys

import pytest

from torchloupe.errors import UsageError
from torchloupe.system.own_imports import find_roots
from torchloupe.system.user_code import load_object


def write(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_file_of_a_package_imports_relative_to_it(tmp_path):
    write(tmp_path / "one", nets__model="from .parts import SIZE\nclass Net: size = SIZE\n",
          nets__parts="SIZE = 3\n")  # fmt: skip
    before = list(sys.path)
    assert load_object(f"{tmp_path}/one/nets/model.py:Net", "model").size == 3
    assert sys.path == before
    write(tmp_path / "two", nets__model="from .parts import SIZE\nclass Net: size = SIZE\n",
          nets__parts="SIZE = 4\n")  # fmt: skip
    assert load_object(f"{tmp_path}/two/nets/model.py:Net", "model").size == 4


def test_file_imports_through_packages_above(tmp_path):
    model = "from ..parts import A\nfrom ...sizes import B\n"
    parts = {"top__lib__parts": "A = 1\n", "top__sizes": "B = 2\n"}
    project = write(tmp_path, top__lib__deep__model=model, **parts)
    for folder in ("top", "top/lib", "top/lib/deep"):
        (project / folder / "__init__.py").write_text("")
    path = project / "top/lib/deep/model.py"
    assert find_roots(path) == ([tmp_path], "top.lib.deep")
    assert load_object(f"{path}:B", "model") == 2


def test_file_imports_from_the_folder_of_its_project(tmp_path):
    write(tmp_path, base__model="class Base: kind = 'base'\n",
          model__net="from base.model import Base\nimport settings_of_mine\nclass Net(Base): ...\n",
          settings_of_mine="X = 1\n")  # fmt: skip
    assert load_object(f"{tmp_path}/model/net.py:Net", "model").kind == "base"


def test_file_that_needs_nothing_has_no_roots(tmp_path):
    write(tmp_path, a="import torch\nimport beside\nimport nowhere_to_be_found\n", beside="")
    assert find_roots(tmp_path / "a.py") == ([], "")
    with pytest.raises(UsageError, match="No module named 'nowhere_to_be_found'"):
        load_object(f"{tmp_path}/a.py:x", "model")
    write(tmp_path, broken="import (\n")
    assert find_roots(tmp_path / "broken.py") == ([], "")
