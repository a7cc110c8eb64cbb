import pytest

from torchloupe import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (2.5e9, "2.5 GB"),
        (123e6, "123 MB"),
        (3e12, "3 TB"),
    ],
)
def test_format_bytes_is_short(count, text):
    assert units.format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.21, "4.2 s"), (185, "3 min 05 s"), (7620, "2 h 07 min"), (59.99, "60.0 s")],
)
def test_format_seconds_reads_well(seconds, text):
    assert units.format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(1797, "1,797"), (11_700_000, "11.7 M"), (1.2e9, "1.2 G")]
)
def test_format_count_is_short(count, text):
    assert units.format_count(count) == text


def test_plural_counts():
    assert [units.plural(n, "class", "classes") for n in (0, 1, 1200)] == [
        "0 classes",
        "1 class",
        "1,200 classes",
    ]


def test_is_due_every_n_and_at_the_end():
    assert [step for step in range(1, 11) if units.is_due(step, 4, 10)] == [4, 8, 10]
    assert not units.is_due(10, 0, 10)
