"""All sections of a run's page, collected from its folder and, where they are at hand, its data
and its model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from torchloupe.config.schema import flatten
from torchloupe.config.settings import read_settings
from torchloupe.data.contract import Contract
from torchloupe.errors import CheckpointError, printable
from torchloupe.hardware.precision import Precision
from torchloupe.lens.anatomy import parameter_count
from torchloupe.prepare.data import NO_ROWS
from torchloupe.prepare.run_data import RunData
from torchloupe.report.document import fill_page
from torchloupe.report.sprite import Sprite, make_sprite, plan_sprite
from torchloupe.run.events import read_events
from torchloupe.run.json_files import read_json
from torchloupe.trained.audit import Audit
from torchloupe.trained.facts import classes, confidence, content, curves, head, mistakes, slices
from torchloupe.trained.facts.advice import Known, suggest
from torchloupe.trained.facts.embedding import Seeing, choose_rows, describe_map
from torchloupe.trained.facts.hard import describe_hard
from torchloupe.trained.facts.images import MOST_EVALUATED, ImageTable
from torchloupe.trained.facts.predictions import read_predictions

PAGE_BYTES = 4_800_000  # of the whole page; thumbnails take what the rest leaves
SHOTS_BYTES = 700_000
_LEAST_SPRITE_BYTES = 200_000
MOST_SHOWN = 12  # images of one verdict
SECTIONS = (
    ("data", "Data"),
    ("training", "Training"),
    ("test", "Test"),
    ("map", "Map of the images"),
    ("ledger", "What was hard to learn"),
    ("settings", "Environment and settings"),
)
Values = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Material:
    """What a page is made from. Only the folder must be there; the rest may be out of reach."""

    folder: Path
    contract: Contract
    model: nn.Module | None = None  # in eval mode, with its images laid out
    precision: Precision | None = None
    run_data: RunData | None = None
    audit: Audit = field(default_factory=Audit)
    is_brief: bool = False  # without what takes seconds: the map and the heat maps


def make_page(material: Material, state: Values | None = None) -> str:
    """The page of a run as HTML. With `state` (words, fraction) it is one that is served while the
    run goes on.
    """
    made = Collection(material)
    made.collect()
    tiles = made.images.tiles
    if not len(tiles):
        return made.fill(state, None)
    planned = plan_sprite(tiles)
    page = made.fill(state, planned)
    sprite = make_sprite(tiles, max(_LEAST_SPRITE_BYTES, PAGE_BYTES - len(page)) * 3 // 4)
    if replace(sprite, encoded=planned.encoded) != planned:  # tiles had to shrink
        return made.fill(state, sprite)
    return page.replace(planned.uri, sprite.uri, 1)


def make_head(folder: Path, contract: Contract, model: nn.Module) -> str:
    """The head of the page as a piece of HTML, for notebooks."""
    made = Collection(Material(folder, contract, model))
    made.describe_head(made.find_verdicts())
    return fill_page("notebook.html", {"page": made.page, "title": made.title})


class Collection:
    """The sections of one page."""

    def __init__(self, material: Material) -> None:
        folder, self.material = material.folder, material
        self.events = read_events(folder)
        self.metrics = _read(folder / "metrics.json")
        self.environment = _read(folder / "environment.json")
        self.settings = read_settings(folder / "config.json")
        names = material.contract.class_names
        self.found = read_predictions(folder / "predictions.parquet", names)
        self.images = ImageTable(material.run_data, self.found)
        self.charts: dict[str, Any] = {}
        empty = ("data", "training", "test", "map", "ledger", "shots", "advice")
        self.page: dict[str, Any] = dict.fromkeys(empty)

    def collect(self) -> None:
        """Fill all sections."""
        material, images = self.material, self.images
        with_map = not material.is_brief
        images.add_evaluated()
        rows = choose_rows(images.run_data) if with_map else NO_ROWS
        for row in rows:
            images.add(int(row))
        data, charts = content.describe_data(
            material.folder, self.environment, images, material.contract.class_names
        )
        data["suspects"] = content.describe_suspects(material.audit.suspected_labels, images)
        if material.audit.note:
            data["remarks"].append(material.audit.note)
        self.page["data"] = data
        self.charts |= charts
        verdicts = self.find_verdicts()
        self.page["ledger"] = describe_hard(material.folder, images)
        places = [] if self.found is None else mistakes.worst_places(self.found)
        unsure = [] if self.found is None else mistakes.unsure_places(self.found)
        images.load([images.add_place(place) for place in (*places, *unsure)])
        training = curves.describe_training(self.events, self.metrics)
        if training is not None:
            self.page["training"], charts = training
            self.charts |= charts
        rows_of_classes, pairs = self._test(places, unsure)
        if material.model is not None and material.precision is not None and with_map:
            seeing = Seeing(
                material.model,
                material.precision,
                material.contract.temperature,
                material.audit.features,
            )
            self.page["map"] = describe_map(seeing, images, rows)
        self.describe_head(verdicts)
        self.page["advice"] = suggest(self._known(verdicts, rows_of_classes, pairs))

    def _test(
        self, places: Sequence[int], unsure: Sequence[int]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Fill the section on the test; rows of the classes and the confused pairs."""
        found, images, material = self.found, self.images, self.material
        if found is None:
            return [], []
        names = found.class_names
        rows = classes.describe_classes(found)
        confusion = classes.count_confusion(found)
        pairs = [] if confusion is None else classes.confused_pairs(confusion, names)
        looking = None if material.is_brief else material.model
        worst, self.page["shots"], layer = mistakes.describe_worst(
            places, images, looking, SHOTS_BYTES
        )
        temperature = material.contract.temperature
        charts = {
            "reliability": confidence.reliability_chart(found, temperature),
            "coverage": confidence.coverage_chart(found, material.contract.threshold),
            "slices": slices.slice_chart(found.right, slices.find_properties(images)),
        }
        known = {name: chart for name, chart in charts.items() if chart is not None}
        self.charts |= known
        split, _ = head.evaluated(self.metrics)
        remarks = []
        if words := confidence.describe_threshold(found, material.contract.threshold):
            remarks.append(words)
        if len(found) > MOST_EVALUATED:
            shown = f"{MOST_EVALUATED:,} of {len(found):,} images"
            remarks.append(f"The page holds {shown}; the numbers are of all.")
        if material.is_brief:
            remarks.append(
                "Heat maps and the map of the images are left out, since minutes were given; "
                "loupe report adds them."
            )
        self.page["test"] = {
            "title": "Test" if split == "test" else "Validation",
            "remarks": remarks,
            "classes": rows,
            "matrix": None if confusion is None else classes.describe_matrix(confusion, names),
            "pairs": pairs,
            "worst": worst,
            "has_heat": self.page["shots"] is not None,
            "heat_layer": layer,
            "unsure": [images.add_place(place) for place in unsure],
            "charts": [(name, chart["title"]) for name, chart in known.items()],
        }
        return rows, pairs

    def find_verdicts(self) -> list[dict[str, Any]]:
        """The verdicts, each with the numbers of the images that it is about."""
        found = head.list_verdicts(self.events, self.metrics)
        data = self.images.run_data
        wanted = {name for verdict in found for name in (verdict.get("samples") or ())[:MOST_SHOWN]}
        row_of = {}
        if data is not None and wanted:
            row_of = {n: k for k, n in enumerate(map(str, data.samples.ids)) if n in wanted}
        for verdict in found:
            own = (verdict.get("samples") or ())[:MOST_SHOWN]
            verdict["images"] = [self.images.add(row_of[name]) for name in own if name in row_of]
            verdict |= {name: verdict.get(name) or "" for name in ("where", "why")}
        return found

    def describe_head(self, verdicts: list[dict[str, Any]]) -> None:
        """Fill the head, the notes, the environment and the settings."""
        material, config = self.material, self.settings.config
        model = material.model
        self.page["head"] = {
            "score": head.describe_score(self.metrics, self.found, self._train_counts()),
            "no_score": head.explain_no_score(self.metrics),
            "scores": head.list_scores(self.metrics),
            "facts": head.list_facts(
                config,
                material.contract,
                self.environment,
                self.metrics,
                0 if model is None else parameter_count(model),
            ),
            "command": head.spell_command(self.environment),
            "verdicts": verdicts,
        }
        self.page["notes"] = [event["note"] for event in self.events if event.get("note")]
        self.page["environment"] = head.list_environment(self.environment)
        self.page["settings"] = [
            {"name": name, "value": str(value), "origin": self.settings.origin(name)}
            for name, value in flatten(config).items()
        ]

    def _train_counts(self) -> list[int]:
        data = self.images.run_data
        counts = None if data is None else data.class_counts()
        if counts is not None:
            return [int(count) for count in counts]
        known = (self.environment.get("data") or {}).get("images_of_class") or {}
        return [int(known.get(name, 0)) for name in self.material.contract.class_names]

    def _known(
        self,
        verdicts: Sequence[Values],
        rows: Sequence[Values],
        pairs: Sequence[Values],
    ) -> Known:
        data = self.page["data"]
        return Known(
            self.material.folder,
            self.settings.config,
            self.metrics,
            self.events,
            verdicts,
            self.found,
            rows,
            pairs,
            self._train_counts(),
            len(data["suspects"]),
            data["unreadable_count"],
            self.material.contract.threshold,
        )

    @property
    def title(self) -> str:
        """The names of the data and of the run folder."""
        name = self.environment.get("data", {}).get("name") or self.settings.config.data.source
        return f"{printable(name, 80)}: {printable(self.material.folder.resolve().name, 80)}"

    def fill(self, state: Values | None, sprite: Sprite | None) -> str:
        """The page as text."""
        facts = {
            "charts": self.charts,
            "classes": [printable(name) for name in self.material.contract.class_names],
            "images": self.images.columns(),
            "map": self.page["map"],
            "threshold": self.material.contract.threshold,
            "sprite": None if sprite is None else {"columns": sprite.columns},
            "is_live": state is not None,
        }
        if sprite is None:
            facts["images"]["tile"] = [None] * len(self.images.keys)
        page = {**self.page, "facts": facts, "sprite": sprite}
        sections = [(key, text) for key, text in SECTIONS if key == "settings" or page.get(key)]
        if page["advice"]:
            sections.insert(-1, ("next", "What to do next"))
        values = {"title": self.title, "page": page, "facts": facts, "sections": sections}
        return fill_page("run.html", {**values, "state": state}, is_served=state is not None)


def _read(path: Path) -> dict[str, Any]:
    """A JSON object of the run folder; empty where there is none yet."""
    try:
        content_of = read_json(path)
    except CheckpointError:
        return {}
    return content_of if isinstance(content_of, dict) else {}
