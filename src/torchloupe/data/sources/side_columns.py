"""Columns beside images and labels that are no paths: the split, groups and names of classes.

They are read as those of tables are, whatever holds them: frames, arrays by name, Parquet files
with images in them, tables of pixels and datasets of Hugging Face.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchloupe.data.sources.column_roles import find_group_columns, find_name_column
from torchloupe.data.sources.labels import compare_splits
from torchloupe.data.sources.name_lists import name_by_column
from torchloupe.data.sources.row_groups import note_possible_groups, read_groups
from torchloupe.data.sources.source import Data
from torchloupe.data.sources.split_column import is_numbered, read_split_columns
from torchloupe.data.sources.split_roles import SplitColumns, find_split_columns
from torchloupe.data.split import TRAIN
from torchloupe.errors import DataError, printable

Texts = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Beside:
    """What columns beside say of each row; None where nothing does."""

    given: NDArray[np.int8] | None = None  # [N], with more than train in it
    groups: NDArray[np.int64] | None = None  # [N]
    names: Texts | None = None  # [N] the class of each row, in place of its number
    notes: tuple[str, ...] = ()
    used: tuple[str, ...] = ()  # columns that were read, or noted

    @property
    def order(self) -> slice | NDArray[np.int64]:
        """The rows, those for training first; all as they are without a split."""
        return slice(None) if self.given is None else np.argsort(self.given, kind="stable")

    def add_groups(self, data: Data, rows: slice | NDArray[np.int64]) -> Data:
        """`data`, which holds `rows` in that order, with the groups and notes."""
        groups = data.samples.groups if self.groups is None else self.groups[rows]
        samples = replace(data.samples, groups=groups)
        return replace(data, samples=samples, notes=(*self.notes, *data.notes))

    def complete(self, data: Data) -> Data:
        """`data`, whose rows are those of the columns, with the split, groups and notes.

        DataError where classes of another split are not those of train.
        """
        data = self.add_groups(data, slice(None))
        if self.given is None:
            return data
        samples = data.samples
        notes = compare_splits(samples.labels, self.given, samples.class_names)
        return replace(data, given=self.given, notes=(*data.notes, *notes))


@dataclass(frozen=True)
class Columns:
    """The columns of a source that is no table file, as column_roles looks at one."""

    columns: Sequence[str]
    preview: Mapping[str, Texts]
    path: Path = field(default_factory=lambda: Path("the data"))


@dataclass(frozen=True)
class SideRoles:
    """What columns beside images and labels are for."""

    split: SplitColumns = field(default_factory=SplitColumns)
    groups: Sequence[str] = ()
    named: str = ""

    @property
    def columns(self) -> list[str]:
        """All that are to be read."""
        wanted = (*self.split.names, *self.split.doubtful, *self.groups, self.named)
        return [name for name in dict.fromkeys(wanted) if name]


def find_side_roles(
    preview: Mapping[str, Texts], label: str, shown: str, split_column: str = "auto"
) -> SideRoles:
    """Which of some columns say the split, groups and names; `preview` holds the label's, too.

    `split_column` is data.split_column, for sources that have it.
    """
    beside: Any = Columns([*preview], preview, Path(shown))
    try:
        split = find_split_columns(beside, label, label, split_column)
    except DataError as error:  # several: the setting for it is one of tables
        hint = "keep one of them" if split_column == "auto" else error.hint
        raise DataError(error.message, hint) from None
    groups = find_group_columns(beside, label)
    taken = [*split.names, *split.doubtful, *groups]
    return SideRoles(split, groups, find_name_column(beside, [label], taken))


def read_beside(
    columns: Mapping[str, Texts],
    label: str,
    shown: str,
    *,
    what: str = "column",
    class_names: Sequence[str] = (),
) -> Beside:
    """What whole columns of texts [N] say of each row; `label` is that of the labels.

    `what` such columns are called: column, array or entry. DataError for a split whose cells say
    none.
    """
    roles = find_side_roles(columns, label, shown)
    numbered = [name for name in roles.split.doubtful if is_numbered(columns[name], name)]
    if not roles.split.names and len(numbered) == 1:
        roles = replace(roles, split=replace(roles.split, names=(numbered[0],)))
    found = replace(roles.split, doubtful=())
    try:
        given, notes = read_split_columns(found, dict(columns), shown)
    except DataError as error:
        raise DataError(
            error.message,
            f"its cells are train, val or test; rename the {what} if it means something else",
        ) from None
    one = f"a {what}" if what == "column" else f"an {what}"
    notes += tuple(
        f"{what} {printable(name)!r} looks like a split column but is not used: write train, val "
        f"and test into {one} named split to use it"
        for name in roles.split.doubtful
        if name not in found.names
    )
    used = tuple(roles.columns)
    named = "" if class_names else roles.named
    return replace(_join(roles.groups, named, columns, label, given, notes), used=used)


def read_beside_split(
    columns: Mapping[str, Texts], label: str, shown: str, given: NDArray[np.int8], said_by: str
) -> Beside:
    """`read_beside` of rows whose split `given` [N] is known from elsewhere, and used.

    With a note where a column says another; `said_by` is what the split is known from.
    """
    roles = find_side_roles(columns, label, shown)
    return read_roles_beside_split(roles, columns, label, shown, given, said_by)


def read_roles_beside_split(
    roles: SideRoles,
    columns: Mapping[str, Texts],
    label: str,
    shown: str,
    given: NDArray[np.int8],
    said_by: str,
    hint: str = "",
) -> Beside:
    """`read_beside_split` of columns whose roles are known; `hint` ends the note."""
    split = roles.split
    beside = read_side_roles(replace(roles, split=SplitColumns()), columns, label, shown)
    said = None
    if split.names and not split.is_flags:
        try:
            said = read_side_roles(SideRoles(split), columns, label, shown).given
        except DataError:  # its cells name no splits
            said = None
    if said is None or (said == given).all():
        return replace(beside, given=given)
    note = (
        f"column {printable(split.names[0])!r} is not used: {said_by} say another split of "
        f"{int((said != given).sum()):,} rows{hint}"
    )
    return replace(beside, given=given, notes=(*beside.notes, note))


def read_side_roles(
    roles: SideRoles, columns: Mapping[str, Texts], label: str, shown: str
) -> Beside:
    """`read_beside` of columns whose roles are known, where data.split_column is a setting."""
    given, notes = read_split_columns(roles.split, dict(columns), shown)
    return _join(roles.groups, roles.named, columns, label, given, notes)


def _join(
    grouped: Sequence[str],
    named: str,
    columns: Mapping[str, Texts],
    label: str,
    given: NDArray[np.int8] | None,
    notes: tuple[str, ...],
) -> Beside:
    labels = columns.get(label)
    groups, more = read_groups([(name, columns[name]) for name in grouped], given, labels)
    if groups is None and given is None:
        more = more or note_possible_groups(columns, [label], labels)
    notes += more
    names = None
    if named and labels is not None:
        texts, found = name_by_column(labels, columns[named], label, named)
        names, notes = texts if found and texts is not labels else None, (*notes, *found)
    if given is not None and not (given != TRAIN).any():
        given = None
    return Beside(given, groups, names, notes)


def as_cells(values: Sequence[Any]) -> Texts | None:
    """A column of texts, numbers and flags as texts [N], empty where nothing is; None for others.

    Whole numbers that went through a float lose their `.0`.
    """
    if not all(is_missing(v) or isinstance(v, (str, bytes, int, float, np.generic))
               for v in values):  # fmt: skip
        return None
    filled = [value for value in values if not is_missing(value)]
    are_whole = any(isinstance(v, (float, np.floating)) for v in filled) and all(
        isinstance(v, (int, float, np.number)) and float(v).is_integer() for v in filled
    )
    cells = ["" if is_missing(v) else _as_text(int(v) if are_whole else v) for v in values]
    return np.array(cells, dtype=np.dtypes.StringDType())


def _as_text(value: Any) -> str:
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text.encode("utf-8", "replace").decode().strip()


def is_missing(value: Any) -> bool:
    """Whether a cell of a frame says nothing: None, NaN, or pandas' own sign for it."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and bool(np.isnan(value))
