"""The folders inside class folders, and those among them that are called like classes."""

from trees import plant

from torchloupe.data.sources import open_data
from torchloupe.data.sources.class_trees import find_sets_inside, find_trees, through_fillers
from torchloupe.data.sources.walk import Walk


def trees_of(folder, *names):
    walk = Walk(str(folder))
    assert list(walk.find_images(""))
    return find_trees(walk, "", dict.fromkeys(names))


def test_trees_hold_the_folders_that_hold_folders(tmp_path):
    plant(tmp_path, "cat/images/persian/1.png", "cat/images/manx/1.png", "dog/1.png")
    trees = trees_of(tmp_path, "cat", "dog")
    assert trees == {"cat": {"cat": {"images"}, "cat/images": {"persian", "manx"}}, "dog": {}}
    assert through_fillers("cat", trees["cat"]) == {"persian", "manx"}
    assert through_fillers("dog", trees["dog"]) == set()


def test_folders_in_which_most_are_called_like_the_others_are_found(tmp_path):
    plant(tmp_path, *(f"{top}{name}/1.png" for top in ("", "all/", "web/x/") for name in "abc"))
    plant(tmp_path, "web/x/d/1.png", "old/a/1.png", "a/deep/1.png")
    trees = trees_of(tmp_path, "a", "b", "c", "all", "web")
    assert find_sets_inside(trees) == {"all": ["all"], "web": ["web/x"]}
    assert find_sets_inside(trees_of(tmp_path, "a", "b", "c", "old")) == {}


def test_a_folder_called_like_another_class_is_noted(tmp_path):
    plant(tmp_path, "cat/1.png", "dog/1.png", "fox/1.png", "web/old/cat/1.png")
    assert open_data(tmp_path).notes == (
        "'web/old/cat' is called like another class, and its images are of the class 'web'",
    )
    plant(tmp_path, "fox/dog/2.png")
    assert open_data(tmp_path).notes == (
        "'fox/dog', 'web/old/cat' are called like other classes, and their images are of the "
        "classes 'fox', 'web'",
    )
    plant(tmp_path, "cat/dog/2.png")
    assert open_data(tmp_path).notes == ()
