"""What names say about splits: `Train`, `training_set`, `seg_train`, `val_images`, `dev`.

A name is cut into words. One of them names a split; what is left over is its frame, by which a
caller tells `train_images` from a class called `train station`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torchloupe.data.split import TEST, TRAIN, VAL

_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "devel", "development"), VAL),
    **dict.fromkeys(("test", "testing", "tst"), TEST),
    # Spanish, Portuguese, French, Italian and Chinese
    **dict.fromkeys(("entrenamiento", "treino", "treinamento", "entrainement", "训练集"), TRAIN),
    **dict.fromkeys(("apprentissage", "addestramento", "训练"), TRAIN),
    **dict.fromkeys(("validacion", "validación", "validacao", "validação", "验证集"), VAL),
    **dict.fromkeys(("validazione", "验证"), VAL),
    **dict.fromkeys(("prueba", "pruebas", "teste", "测试集", "测试"), TEST),
}
# What stands in cells of a column of splits alone: `tr` may be a language elsewhere.
_IN_CELLS = {
    **dict.fromkeys(("tr", "learning", "learn"), TRAIN),
    **dict.fromkeys(("va", "vl"), VAL),
    **dict.fromkeys(("te", "ts"), TEST),
}
# Words that stand beside the split in the names of folders, files and cells, and say nothing more.
_FILLERS = frozenset(
    (
        *("set", "sets", "data", "dataset", "datasets", "split", "splits", "subset", "part"),
        *(
            "image",
            "images",
            "img",
            "imgs",
            "jpg",
            "jpgs",
            "jpeg",
            "jpegs",
            "png",
            "photo",
            "photos",
            "picture",
            "pictures",
            "pics",
        ),
        *("sample", "samples", "example", "examples", "file", "files", "folder", "dir"),
        *("label", "labels", "labelled", "labeled", "list", "annotations", "csv", "df"),
    )
)
# Names of what is kept apart from training, without saying whether as val, test or neither.
_VAGUE = frozenset(
    (
        *("eval", "evaluation", "holdout", "heldout", "unseen", "query", "gallery"),
        *("pred", "predict", "prediction", "predictions", "inference", "submission"),
        *("unlabeled", "unlabelled", "unsupervised"),
    )
)


@dataclass(frozen=True)
class SplitName:
    """The split that a name names, and the words of the name that are not about splits."""

    part: int  # TRAIN, VAL or TEST
    frame: tuple[str, ...]

    @property
    def is_plain(self) -> bool:
        """Whether nothing but the split is named: `train`, `Training set`, `val_images`."""
        return not self.frame


def read_split_name(text: str) -> SplitName | None:
    """What `text` says of a split; None if it names none, or two that contradict."""
    if text.lower() in _WORDS:  # TeSt
        return SplitName(_WORDS[text.lower()], ())
    parts, frame = set(), []
    for word in _cut_into_words(text):
        if word in _WORDS:
            parts.add(_WORDS[word])
        elif word not in _FILLERS:
            frame.append(word)
    if parts == {TRAIN, VAL}:  # train_val: to be divided further
        parts = {TRAIN}
    return SplitName(parts.pop(), tuple(frame)) if len(parts) == 1 else None


def read_split(text: str) -> int | None:
    """TRAIN, VAL or TEST where `text` names it and nothing else; None otherwise."""
    found = read_split_name(text)
    return found.part if found is not None and found.is_plain else None


def read_cells(cells: Sequence[str]) -> dict[str, int | None]:
    """The split that each cell of a column of splits names, None for those that name none.

    Short forms such as `tr` and `te` count where each cell names a split, and one is train.
    """
    parts = {cell: read_split(cell) for cell in cells}
    more = {cell: parts[cell] if parts[cell] is not None else _IN_CELLS.get(cell.lower())
            for cell in cells}  # fmt: skip
    is_certain = None not in more.values() and TRAIN in more.values() and len(set(more)) > 1
    return more if is_certain else parts


def are_development(cells: Sequence[str]) -> bool:
    """Whether the cells of a column of splits are dev and test alone: dev is to be trained on."""
    parts = {read_split(cell) for cell in cells}
    words = [cell.lower() for cell in cells if read_split(cell) == VAL]
    return parts == {VAL, TEST} and all(word.startswith("dev") for word in words)


def is_short_train(cell: str) -> bool:
    """Whether a cell may be short for train, as `tr`."""
    return _IN_CELLS.get(cell.lower()) == TRAIN


def is_filler(text: str) -> bool:
    """Whether a name is made of words that say nothing of their own, such as `images`, `data`."""
    return all(word in _FILLERS for word in _cut_into_words(text))


def names_images(text: str) -> bool:
    """Whether a name says that it is of images or a set: `x_testset`, and not `test_tube`."""
    return any(word in _FILLERS for word in _cut_into_words(text))


def is_vague_name(text: str) -> bool:
    """Whether a name says that something is no training data, and not what it is for."""
    return any(word in _VAGUE for word in _cut_into_words(text))


def is_held_back(text: str) -> bool:
    """Whether a name says that something is kept apart from training, and nothing more."""
    found = read_split_name(text)
    if found is not None:
        return found.part != TRAIN and all(map(str.isdigit, found.frame))
    words = [word for word in _cut_into_words(text) if word not in _FILLERS]
    is_one = "".join(words) in (*_VAGUE, "evaluate")  # also hold-out
    return is_one or (bool(words) and all(word in _VAGUE for word in words))


def _cut_into_words(text: str) -> list[str]:
    """The words and numbers of a name, in lower case: TrainSet, train-set and trainset alike."""
    words: list[str] = []
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    for word in re.findall(r"[^\W\d_]+|\d+", spaced.lower()):
        words += _cut_glued(word)
    return words


def _cut_glued(word: str) -> tuple[str, ...]:
    if word not in _WORDS and word not in _FILLERS:
        for known in _WORDS:
            rest = word.removeprefix(known)
            if rest != word and rest in _FILLERS:
                return (known, rest)
    return (word,)
