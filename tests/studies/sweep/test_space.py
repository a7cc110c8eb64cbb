"""What can be tried, and what is refused before any trial."""

import pytest

from torchloupe.config.schema import Config
from torchloupe.config.text import change
from torchloupe.errors import UsageError
from torchloupe.studies.sweep.space import (
    Dimension,
    count_combinations,
    list_combinations,
    make_space,
    parse_tries,
    read_dimension,
)

BASE = Config()


def only(name, values, base=BASE):
    """The single dimension of a space."""
    (found,) = make_space({name: values}, base)
    return found


def test_ranges_and_lists_are_read():
    lr = only("optimizer.lr", "1e-4..1e-2:log")
    assert (lr.low, lr.high, lr.is_log, lr.is_whole) == (1e-4, 1e-2, True, False)
    batch = only("train.batch_total", "16 .. 256:log")
    assert batch.is_whole and batch.ends() == (16, 256)
    assert only("augment.translate", "0..0.25:step=0.1").high == pytest.approx(0.2)
    assert only("augment.translate", "0..0.25:step=0.1").values() == pytest.approx((0, 0.1, 0.2))
    assert only("train.epochs", "1..5").is_whole is False  # epochs may be fractions
    assert only("model.options.width", "16..64:step=16").values() == (16, 32, 48, 64)
    assert only("model.name", "cnn, residual").choices == ("cnn", "residual")
    assert only("augment.flip", [True, False]).choices == (True, False)
    assert only("optimizer.weight_decay", "0..1e-2").ends() == (0, 0.01)


def test_a_dimension_survives_its_json():
    for values in ("1e-4..1e-2:log", [0.1, 0.2]):
        dimension = only("optimizer.lr", values)
        assert read_dimension(dimension.as_json()) == dimension


def test_places_on_an_axis():
    lr = only("optimizer.lr", "1e-4..1e-2:log")
    assert [lr.place(v) for v in (1e-4, 1e-3, 1e-2)] == pytest.approx([0, 0.5, 1])
    assert [only("model.name", "cnn,net,residual").place(v) for v in ("cnn", "residual")] == [0, 1]
    assert Dimension("x", (), 1, 1).place(1) == 0.5


def test_combinations_are_counted_and_listed():
    space = make_space({"model.name": "cnn,net", "augment.policy_count": "1..3"}, BASE)
    assert count_combinations(space) == 6 == len({str(each) for each in list_combinations(space)})
    assert count_combinations((*space, *make_space({"optimizer.lr": "0.1..0.2"}, BASE))) is None


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("optimizer.lrr", "1e-4..1e-2", "did you mean 'optimizer.lr'"),
        ("optimizer.name", "adam,adamm", "adamm"),
        ("augment.policy", "auto,randaugmnt", "did you mean 'randaugment'"),
        ("train.batch_total", "1.5..2.5", "it takes whole numbers"),
        ("train.batch_total", "16,many", "'many' is not a whole number"),
        ("optimizer.lr", "1e-2..1e-4", "its low end 1e-2 is not below its high end 1e-4"),
        ("optimizer.lr", "0..1:log", "begins above 0"),
        ("optimizer.lr", "1..2:lin", "lin is unknown"),
        ("optimizer.lr", "1..2:log:step=1", "not both"),
        ("optimizer.lr", "1..2..3", "is no range"),
        ("optimizer.lr", "1e-4...1e-2", "is no range"),  # and not up to .1e-2
        ("augment.mixup", "0..500", "out of range"),
        ("augment.mixup", "0..1:step=2", "its step is larger"),
        ("model.name", "1..3", "takes no range"),
        ("model.name", "cnn", "one value, cnn"),
        ("model.name", "cnn,cnn", "a value twice"),
        ("model.name", [["cnn"], ["net"]], "['cnn']"),
        ("model.name", 3, "is tried with 3"),
        ("data.source", "a,b", "validated on the same images"),
        ("data.val_fraction", "0.1..0.2", "validated on the same images"),
        ("train.seed", "0..9", "train.seed can't be tried"),
        ("seed", "1,2", "seed is no setting, and train.seed can't be tried: --repeat"),
        ("val_fraction", "0.1,0.2", "validated on the same images"),
        ("check.level", "off,warn", "it changes no result"),
        ("hardware.device", "cpu,cuda", "the same device"),
    ],
)
def test_what_makes_no_sense_is_refused(name, values, message):
    with pytest.raises(UsageError) as caught:
        make_space({name: values}, BASE)
    assert message in f"{caught.value.message}; {caught.value.hint}"
    assert caught.value.hint


def test_losses_are_not_compared_by_themselves():
    by_loss = change(BASE, {"train.monitor": "val_loss"})
    with pytest.raises(UsageError, match="which it changes"):
        make_space({"loss.smoothing": "0..0.2"}, by_loss)
    assert only("loss.smoothing", "0..0.2").high == 0.2


def test_misspelt_models_get_the_nearest_name():
    with pytest.raises(UsageError) as caught:
        make_space({"model.name": "cnn,residul"}, BASE)
    assert "did you mean 'residual'?" in caught.value.hint


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["optimizer.lr"], "--try takes name=values"),
        (["optimizer.lr="], "--try takes name=values"),
        (["optimizer.lr=1..2", "optimizer.lr=3..4"], "is tried twice"),
    ],
)
def test_texts_of_try_that_are_none(texts, message):
    with pytest.raises(UsageError, match=message):
        parse_tries(texts)


def test_nothing_to_try_is_refused():
    with pytest.raises(UsageError, match="nothing to try"):
        make_space({}, BASE)
    assert parse_tries(["a.b= 1..2 "]) == {"a.b": "1..2"}
