"""The folders inside class folders, and copies of the whole set among them."""

from trees import plant

from torchloupe.data.sources.class_trees import find_copies, find_trees, through_fillers
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


def test_a_folder_with_all_the_others_in_it_is_a_copy(tmp_path):
    plant(tmp_path, "cat/1.png", "dog/1.png", "all/cat/1.png", "all/dog/1.png")
    assert find_copies(trees_of(tmp_path, "all", "cat", "dog")) == ["all"]
    assert find_copies(trees_of(tmp_path, "cat", "dog")) == []
