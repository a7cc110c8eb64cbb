"""The data of an ejected file: its images listed, decoded and split as the run had them.

The written code is run on the names of the images before it is handed out: it has to find the
same images, with the same labels, in the same parts.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from torchloupe.data.sources.archives import StoredArrays, read_role
from torchloupe.data.sources.source import SPLIT_WORDS
from torchloupe.data.split import SPLIT_DRAW, SPLIT_NAMES
from torchloupe.deploy.ejection.facts import Facts
from torchloupe.deploy.ejection.text import Part, assign, literal, quote
from torchloupe.errors import UsageError, printable

LAZY_BYTES = 4 * 10**9  # of decoded images; more are decoded when they are needed
KERNELS = {"nearest": "NEAREST", "bilinear": "BILINEAR", "bicubic": "BICUBIC", "lanczos": "LANCZOS"}
_WRITES = "add --data images.npz, which stores the decoded images and their split for the file"


def describe_data(facts: Facts, stored: Part | None = None) -> Part:
    """How the file gets its images, labels and split. UsageError for data of other kinds.

    `stored` reads them from a file that was written for it.
    """
    part = stored or _describe_source(facts)
    if stored is None:
        part.add(_describe_split(facts))
    contract = facts.contract
    height, width = contract.size
    part.settings += [
        assign("SIZE", (height, width), "height, width"),
        assign("CHANNELS", contract.channels),
        assign("MEAN", contract.mean or (0.0,) * contract.channels, "of pixels scaled to 0..1"),
        assign("STD", contract.std or (1.0,) * contract.channels),
    ]
    _describe_values(facts, part)
    return part


def _describe_source(facts: Facts) -> Part:
    data, name = facts.data, facts.config.data.source
    kind = data.kind
    if kind == "arrays" and name == "digits":
        part = Part({"digits"}, packages={"scikit-learn"})
        part.settings.append("# The data are the handwritten digits that come with scikit-learn.")
    elif kind == "arrays":
        part = _describe_arrays(facts)
    elif kind == "folder":
        part = _describe_folder(facts)
    elif kind == "table" and Path(name).suffix.lower() in (".csv", ".tsv"):
        part = _describe_table(facts)
    else:
        raise UsageError(f"{printable(data.name)} is data of another kind ({kind})", _WRITES)
    if data.samples.is_multi_label:
        part.flags.add("multi")
    if facts.left_out and "files" in part.flags:
        part.flags.add("left_out")
        part.settings.append(assign("LEFT_OUT", facts.left_out, "these can't be read"))
    if facts.is_changed:
        part.differs.append("the images have changed since the run, so others train here")
    return part


def _describe_folder(facts: Facts) -> Part:
    """Class folders, below a folder for each split where the data have such."""
    data, names = facts.data, facts.contract.class_names
    ids = [str(name) for name in data.samples.ids]
    is_typed = facts.config.data.label_pattern not in ("auto", "none")
    if is_typed or any(name.count("/") < (data.given is not None) + 1 for name in ids):
        raise UsageError(f"{printable(data.name)} has its classes in the file names", _WRITES)
    part = Part({"folder", "files"}, packages={"pillow"})
    root = str(data.reader.root)  # type: ignore[attr-defined]
    part.settings.append(f"DATA = Path({quote(_as_typed(facts, root))})")
    labels = data.samples.labels.tolist()
    if data.given is None:
        folders = {name.split("/")[0]: label for name, label in zip(ids, labels, strict=True)}
    else:
        part.flags.add("given")
        splits, folders = _find_split_folders(ids, labels, data.given.tolist(), names)
        spelled = ", ".join(f"{quote(k)}: {SPLIT_NAMES[p].upper()}" for k, p in splits.items())
        part.settings.append(f"SPLITS = {{{spelled}}}  # folders below DATA")
    if list(folders.items()) != [(name, label) for label, name in enumerate(names)]:
        folders = dict(sorted(folders.items(), key=lambda item: (item[1], item[0])))
    if [*folders.items()] != [(name, label) for label, name in enumerate(names)]:
        part.flags.add("mapped")
        part.settings.append(assign("FOLDERS", folders, "the class number of each folder"))
    endings = sorted({Path(name).suffix.lower() for name in ids})
    part.settings.append(assign("ENDINGS", tuple(endings)))
    return part


def _as_typed(facts: Facts, root: str) -> str:
    """The data folder as it was typed, and what was entered below it."""
    typed = facts.config.data.source
    inner = os.path.relpath(root, Path(typed).expanduser().absolute())
    return os.path.normpath(typed if inner == "." else f"{typed}/{inner}")


def _find_split_folders(
    ids: Sequence[str], labels: Sequence[int], given: Sequence[int], names: Sequence[str]
) -> tuple[dict[str, int], dict[str, int]]:
    """The folders of the splits, and the class number of each class folder in them."""
    splits: dict[str, int] = {}
    folders: dict[str, int] = {}
    depths: dict[str, int] = {}
    for name, label, part in zip(ids, labels, given, strict=True):
        steps = name.split("/")[:-1]
        depth = depths.get(steps[0])
        if depth is None:
            fitting = [k for k in range(1, len(steps)) if steps[k] == names[label]]
            depth = depths[steps[0]] = fitting[0] if fitting else 1
        if depth >= len(steps):
            raise UsageError(f"the folders of {printable(name)} are of different depths", _WRITES)
        splits["/".join(steps[:depth])] = part
        folders[steps[depth]] = label
    return splits, folders


def _describe_table(facts: Facts) -> Part:
    """A table of files with one column of labels."""
    source, data = Path(facts.config.data.source).expanduser(), facts.data
    delimiter = "\t" if source.suffix.lower() == ".tsv" else ","
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    names = facts.contract.class_names
    columns = {key: [str(row[key]).strip() for row in rows] for key in (rows[0] if rows else ())}
    ids, labels = [str(name) for name in data.samples.ids], data.samples.labels
    image = next((key for key, cells in columns.items() if cells == ids), "")
    wanted = [] if labels.ndim == 2 else [names[label] for label in labels]
    label = next((key for key, cells in columns.items() if cells == wanted), "")
    if not image or not label:
        raise UsageError(
            f"the table {printable(source)} needs more than a few lines to read: its cells are not "
            "the plain paths and class names",
            _WRITES,
        )
    part = Part({"table", "files"}, packages={"pillow"})
    part.settings += [
        f"TABLE = Path({quote(facts.config.data.source)})",
        "DATA = TABLE.parent  # the paths in the table are relative to it",
    ]
    part.values |= {
        "delimiter": quote(delimiter),
        "image_column": quote(image),
        "label_column": quote(label),
    }
    if data.given is not None:
        part.flags.add("given")
        given = data.given.tolist()
        for key, cells in columns.items():
            meaning = dict(zip(cells, given, strict=True))
            if [meaning[cell] for cell in cells] == given and len(meaning) < len(cells):
                part.values["split_column"] = quote(key)
                words = ", ".join(
                    f"{quote(c)}: {SPLIT_NAMES[p].upper()}" for c, p in meaning.items()
                )
                part.settings.append(f"SPLITS = {{{words}}}")
                break
        else:
            raise UsageError(f"no column of {printable(source)} names the splits", _WRITES)
    return part


def _describe_arrays(facts: Facts) -> Part:
    """Arrays in a .npz, or in a folder of .npy files."""
    source, data = Path(facts.config.data.source).expanduser(), facts.data
    part = Part({"arrays"})
    is_folder = source.is_dir() and any(p.suffix == ".npy" for p in source.iterdir())
    if source.suffix.lower() == ".npz":
        part.flags.add("npz")
        arrays: Mapping[str, Any] = np.load(source, allow_pickle=False)
    elif is_folder:
        part.flags.add("npy")
        files = {path.stem: path for path in sorted(source.iterdir()) if path.suffix == ".npy"}
        arrays = StoredArrays(
            lambda stem: np.load(files[stem], mmap_mode="r", allow_pickle=False),
            {stem: str(path) for stem, path in files.items()},
        )
    else:
        raise UsageError(f"{printable(source)} holds arrays in a file of another kind", _WRITES)
    part.settings.append(f"DATA = Path({quote(facts.config.data.source)})")
    found = {read_role(key): key for key in arrays if read_role(key)[0]}
    splits = [split for role, split in found if role == "images"]
    splits.sort(key=lambda split: SPLIT_WORDS.get(split, 0))
    ending = ".npy" if is_folder else ""
    keys = {s: (found["images", s] + ending, found["labels", s] + ending) for s in splits}
    first = keys[splits[0]]
    part.values |= {"image_key": quote(first[0]), "label_key": quote(first[1])}
    if len(splits) > 1:
        part.flags.add("given")
        named = {SPLIT_NAMES[SPLIT_WORDS[split]]: pair for split, pair in keys.items()}
        part.settings.append(assign("ARRAYS", named, "images and labels of each split"))
        part.settings.append('PARTS = {"train": TRAIN, "val": VAL, "test": TEST}')
    _describe_pixels(facts, part, arrays[first[0].removesuffix(ending)])
    _describe_labels(facts, part, arrays[first[1].removesuffix(ending)])
    shape = data.reader.array.shape[1:3]  # type: ignore[attr-defined]
    if shape != facts.contract.size:
        raise UsageError(
            f"the arrays have {shape[0]} x {shape[1]} pixels and the model takes "
            f"{facts.contract.size[0]} x {facts.contract.size[1]}",
            _WRITES,
        )
    return part


def _describe_pixels(facts: Facts, part: Part, images: Any) -> None:
    """Shape and type of the stored images."""
    if images.ndim == 3:
        part.flags.add("nhw")
    elif images.shape[3] != facts.contract.channels or facts.config.data.layout == "NCHW":
        part.flags.add("nchw")
    wanted = "float32" if facts.contract.is_float else "uint8"
    if images.dtype.kind == "b":
        part.flags.add("as_bool")
    elif images.dtype != wanted:
        part.flags.add("cast")
        part.values["dtype"] = wanted


def _describe_labels(facts: Facts, part: Part, labels: Any) -> None:
    """How stored labels become class numbers."""
    names = facts.contract.class_names
    if facts.data.samples.is_multi_label:
        raise UsageError("arrays of several labels an image are not written out", _WRITES)
    if labels.ndim == 2:
        part.flags.add("column" if labels.shape[1] == 1 else "one_hot")
    if labels.dtype.kind in "US":
        part.flags.add("named")
    elif labels.ndim == 1 or labels.shape[1] == 1:
        found = dict(zip(labels.reshape(-1).tolist(), facts.data.samples.labels, strict=False))
        if any(int(value) != number for value, number in found.items()):
            part.flags.add("numbered")
            numbers = {int(name): k for k, name in enumerate(names) if name.lstrip("-").isdigit()}
            part.settings.append(assign("LABELS", numbers, "the class of each stored number"))


def _describe_split(facts: Facts) -> Part:
    """The split, computed as in the run where a few lines can."""
    config, data = facts.config, facts.data
    part = Part()
    part.values["split_draw"] = f"0x{SPLIT_DRAW:X}"
    has_copies = len(np.unique(facts.content)) < len(facts.content)
    carves = data.given is None or (config.data.val_fraction > 0 and not (data.given == 1).any())
    if carves:
        tested = config.data.test_fraction if data.given is None else 0.0
        part.settings += [
            assign("VAL_FRACTION", config.data.val_fraction),
            assign("TEST_FRACTION", tested),
        ]
        part.flags |= {"split", *(["copies"] if has_copies else [])}
        if data.given is not None:
            part.flags.add("given_carved")
        else:
            part.flags.add("copies_free" if has_copies else "simple_free")
    return part


def _describe_values(facts: Facts, part: Part) -> None:
    """Decoding, and the normalisation."""
    contract = facts.contract
    if "files" in part.flags:
        part.flags.add(contract.fit)
        part.values["kernel"] = KERNELS[contract.kernel]
        part.values["pil_mode"] = quote(contract.mode)
        if contract.mode == "L":
            part.flags.add("grey")
        size = len(facts.data.samples) * contract.size[0] * contract.size[1] * contract.channels
        if size > LAZY_BYTES:
            part.flags.add("lazy")
            if "copies" in part.flags:
                part.flags.add("lazy_copies")
        part.values["white"] = literal(contract.white_level)
    elif "copies" in part.flags:
        part.flags.add("array_copies")
    low, span = contract.value_low, contract.value_high - contract.value_low
    if (low, span) == (0.0, 255.0):
        part.values["scale_line"] = "scale = torch.tensor([1 / (255 * std) for std in STD])"
        offset = "-mean / std for mean, std in zip(MEAN, STD, strict=True)"
    else:
        part.flags.add("float_range")
        part.values |= {"low": repr(low), "span": repr(span)}
        part.values["scale_line"] = "scale = torch.tensor([1 / (span * std) for std in STD])"
        offset = "-(low / span + mean) / std for mean, std in zip(MEAN, STD, strict=True)"
    part.values["offset_line"] = f"offset = torch.tensor([{offset}])"


def check_data(facts: Facts, code: str) -> list[str]:
    """Run the data part of the written file on the images; what is not as in the run.

    `code` has the imports, the settings and everything about the data. Only the listing, the
    hashes and the split are run: nothing is decoded.
    """
    space: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(code, "train.py", "exec"), space)  # our own text, with literals of the settings
    samples, given = facts.data.samples, facts.data.given
    listing = space.get("list_folder") or space.get("read_table")
    sound = facts.parts >= 0
    ids = [str(name) for name in samples.ids[sound]]
    labels, parts = samples.labels[sound], facts.parts[sound]
    if listing is not None:
        found = listing()
        wanted = dict(zip(ids, labels.tolist(), strict=True))
        if dict(zip(found[0], found[1].tolist(), strict=True)) != wanted:
            raise UsageError(
                "a few lines of code don't find the images of this run in its folders",
                _WRITES,
            )
        keys = np.array([space["make_key"](name.encode()) for name in ids], dtype=np.uint64)
        if not np.array_equal(keys, samples.keys[sound]):
            raise UsageError("the names of the images can't be written out", _WRITES)
    if "split" not in space:
        return []
    rows = np.arange(len(ids)) if given is None else np.flatnonzero(given[sound] == 0)
    arguments = [samples.keys[sound][rows], labels[rows]]
    if "content: " in code.partition("def split(")[2].partition(")")[0]:
        arguments.append(facts.content[sound][rows])
    mine = parts.copy() if given is None else given[sound].astype(np.int8)
    mine[rows] = space["split"](*arguments)
    moved = int((mine != parts).sum())
    if not moved:
        return []
    return [
        f"{moved:,} of {len(ids):,} images are in another part than in the run, whose rules for "
        "groups, folds, copies and very small classes take more than a few lines; --data "
        "IMAGES.npz stores the split of the run"
    ]
