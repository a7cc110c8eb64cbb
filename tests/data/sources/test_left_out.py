"""What is left out of a set is counted by kind, with an example that does not depend on order."""

from torchloupe.data.sources.left_out import LeftOut


def test_each_kind_has_a_count_and_the_first_name_as_its_example() -> None:
    left_out = LeftOut()
    for kind, name in (("in a/", "a/2.png"), ("in a/", "a/1.png"), ("in b/", "b/3.png")):
        left_out.add(kind, name)
    assert left_out.notes("copy", "copies", "not used") == [
        "2 copies in a/, such as 'a/1.png': not used",
        "1 copy in b/, such as 'b/3.png': not used",
    ]
    assert LeftOut().notes("copy", "copies", "not used") == []
