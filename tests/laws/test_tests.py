"""Tests about tests: each can fail, has a telling name, and stands where its subject is."""

import ast
import re
from collections.abc import Iterator
from functools import cache

import house
import pytest


def cases_of(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """The test functions of a file."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node


# Modules without a test file of their own: the file that holds what they do, and why there.
HELD_ELSEWHERE = {
    "checks.behaviour": ("checks/test_examination.py", "planted mistakes of evaluation"),
    "checks.batches": ("checks/test_examination.py", "planted labels and images of batches"),
    "checks.coverage": ("checks/test_examination.py", "planted losses of some images, and sums"),
    "checks.decay": ("checks/test_examination.py", "planted weight decay, and sound ones"),
    "checks.rules": ("checks/test_examination.py", "optimizers of planted and sound set-ups"),
    "checks.schedules": ("checks/test_watching.py", "schedulers stepped by batch and by epoch"),
    "checks.flow": ("checks/test_examination.py", "planted mistakes of gradients and signals"),
    "checks.functions": ("checks/test_examination.py", "planted mistakes between the layers"),
    "checks.learning": ("checks/test_examination.py", "planted learning rates, and sound ones"),
    "checks.modes": ("checks/test_examination.py", "planted modes and repeated blocks"),
    "checks.outputs": ("checks/test_examination.py", "planted last layers of every kind"),
    "checks.parameters": ("checks/test_examination.py", "planted optimizers and frozen layers"),
    "checks.probing": ("checks/test_examination.py", "planted losses, and sound ones"),
    "checks.registration": ("checks/test_examination.py", "planted lists, dicts and tensors"),
    "checks.subject": ("checks/test_examination.py", "copies of every planted model"),
    "data.image.arrays": ("data/image/test_decode.py", "arrays as they are decoded"),
    "data.image.encoded": ("data/image/test_readers.py", "encoded bytes of every format"),
    "data.sources.archive_members": ("data/sources/test_archived.py", "members of archives"),
    "data.sources.dataset_labels": ("data/sources/test_datasets.py", "labels of opened datasets"),
    "data.sources.file_kinds": ("data/sources/test_kinds.py", "kinds of files, all opened there"),
    "data.sources.joined": (
        "data/sources/test_split_tables.py",
        "splits joined from several tables",
    ),
    "data.sources.listing": ("data/sources/test_folders.py", "files of class folders"),
    "data.sources.loaders": ("data/sources/test_streams.py", "DataLoaders taken apart or not"),
    "data.sources.missing": ("data/sources/test_kinds.py", "the nearest names of a wrong path"),
    "data.sources.column_names": ("data/sources/test_column_roles.py", "columns by these names"),
    "data.sources.parquet_columns": (
        "data/sources/test_parquet_images.py",
        "columns beside images in Parquet files",
    ),
    "data.sources.pixel_rows": ("data/sources/test_pixel_table.py", "columns beside pixels"),
    "data.sources.side_columns": ("data/sources/test_hub_columns.py", "columns beside images"),
    "data.sources.tables_beside": (
        "data/sources/test_no_classes.py",
        "tables of labels are named, and none of splits or boxes",
    ),
    "data.sources.system_files": ("data/sources/test_layout.py", "folders of systems are no data"),
    "lens.batch_dependence": ("checks/test_trial.py", "models in which other images decide"),
    "lens.hidden": ("checks/test_trial.py", "models with layers in plain lists"),
    "prepare.spare": ("train/test_reopening.py", "models that open again, or do not"),
    "__main__": ("cli/test_main.py", "started as a process there"),
    "cli.compare": ("studies/test_comparison.py", "prints that study's findings"),
    "cli.evaluate": ("cli/test_end_to_end.py", "needs a trained run, which is shared there"),
    "cli.gpus": ("faults/test_ranks.py", "starts ranks of real runs"),
    "cli.info": ("cli/test_machine.py", "its rendering, apart for the sake of torch"),
    "cli.options": ("laws/test_frozen.py", "the options of every command, one by one"),
    "cli.summary": ("cli/test_layers.py", "its rendering, apart for the sake of torch"),
    "cli.verify": ("studies/test_resume_proof.py", "prints that study's findings"),
    "cli.export": ("deploy/artefact/test_command.py", "prints what is tested there"),
    "deploy.artefact.card": ("deploy/artefact/test_exporting.py", "cards of real exports"),
    "deploy.artefact.evidence": ("deploy/artefact/test_exporting.py", "files that are compared"),
    "deploy.artefact.fresh": ("deploy/artefact/test_stages.py", "artefacts tried by a process"),
    "deploy.artefact.graph": ("deploy/artefact/test_exporting.py", "graphs as they are written"),
    "deploy.artefact.sessions": ("deploy/artefact/test_opened.py", "models in their libraries"),
    "deploy.artefact.writers": ("deploy/artefact/test_exporting.py", "kinds that are written"),
    "cli.tell": ("train/test_told.py", "running trainings are told there"),
    "cli.launch": ("distributed/test_clusters.py", "scripts that the command writes"),
    "train.going_on": ("distributed/test_hosts.py", "runs that go on after a restart"),
    "cli.resume": ("cli/test_train.py", "runs that are trained and resumed"),
    "cli.sweep": ("studies/sweep/test_workers.py", "started as processes there"),
    "studies.sweep.work": ("studies/sweep/test_start.py", "work as it is handed out there"),
    "cli.serve": ("deploy/serving/test_server.py", "started as a process there"),
    "deploy.serving.application": ("deploy/serving/test_service.py", "routes of a live server"),
    "deploy.serving.bodies": ("deploy/serving/test_service.py", "bodies sent to a live server"),
    "deploy.serving.counts": ("deploy/serving/test_service.py", "metrics of a live server"),
    "deploy.serving.files": ("deploy/serving/test_server.py", "files that the command writes"),
    "deploy.serving.openapi": ("deploy/serving/test_service.py", "routes of a live server"),
    "cli.eject": ("deploy/ejection/test_page.py", "prints what is tested there"),
    "deploy.ejection.augmentation": ("deploy/ejection/test_page.py", "files with augmentation"),
    "deploy.ejection.data": ("deploy/ejection/test_page.py", "data as written files find them"),
    "deploy.ejection.facts": ("deploy/ejection/test_page.py", "runs as they are read for a file"),
    "deploy.ejection.model": ("deploy/ejection/test_page.py", "networks of the written files"),
    "deploy.ejection.notebook": ("deploy/ejection/test_page.py", "notebooks of the same code"),
    "deploy.ejection.optimizer": ("deploy/ejection/test_page.py", "steps of the written files"),
    "deploy.ejection.rate": ("deploy/ejection/test_page.py", "rates of the written files"),
    "deploy.ejection.training": ("deploy/ejection/test_page.py", "settings of the written files"),
    "display.tracking_errors": ("display/test_trackers.py", "trackers that fail"),
    "data.feeds.heartbeats": ("data/feeds/test_loader.py", "workers that die, hang or are slow"),
    "cli.predict_shards": ("trained/test_bulk.py", "the command, with kills and ranks"),
    "data.sources.shard_inputs": ("trained/test_bulk.py", "shards as a prediction reads them"),
    "trained.prediction_rows": ("cli/test_predict.py", "rows in each of the formats"),
    "data.shards.cellar": ("data/shards/test_store.py", "what a store fetches and removes"),
    "data.feeds.items": ("data/feeds/test_loader.py", "items as they come through the loader"),
    "data.pack.location": ("data/pack/test_pixels.py", "where pixels go, by room"),
    "data.sources.archives": ("data/sources/test_arrays.py", "arrays in files of every kind"),
    "data.sources.labels": ("data/sources/test_tables.py", "labels as tables give them"),
    "data.sources.objects": ("data/sources/test_datasets.py", "objects handed over"),
    "data.sources.source": ("data/sources/test_kinds.py", "every kind is opened through it"),
    "data.sources.walk": ("data/sources/test_index.py", "folders as they are listed"),
    "data.survey": ("prepare/test_strategy.py", "what is decided by it"),
    "lens.costs": ("lens/test_summary.py", "counts compared with published ones"),
    "model.foreign": ("model/test_weights.py", "read in a child, as there"),
    "prepare.measured": ("prepare/test_session.py", "settled settings, as the run folder has them"),
    "prepare.run_data": ("prepare/test_data.py", "splits and facts, as the run folder has them"),
    "report.look": ("report/test_picture.py", "looks are drawn there"),
    "run.listener": ("run/test_folder.py", "a protocol: events that reach listeners"),
    "train.execution": ("train/test_changes.py", "begun, stopped and resumed runs"),
    "train.outcome": ("cli/test_end_to_end.py", "the files of a finished run"),
    "train.start": ("laws/test_exact_resume.py", "fit and resume are what all laws call"),
    "train.verdicts": ("checks/test_training.py", "events of trainings, and their facts"),
    "train.validation": ("train/test_loop.py", "validation as the loop calls it"),
    "trained.facts.content": ("trained/facts/test_page.py", "the data as the page tells them"),
    "trained.facts.images": ("trained/facts/test_page.py", "images as the page shows them"),
    "trained.facts.mistakes": ("trained/facts/test_page.py", "mistakes as the page shows them"),
    "trained.prediction": ("trained/test_run.py", "plain values that `predict` gives"),
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
FAILING_CALL = re.compile(r"^pytest\.(raises|warns|fail)$|\.assert_\w+$")


def can_fail(function: Function, checkers: set[str]) -> bool:
    """Whether it asserts, expects an exception or warning, or calls one of `checkers`."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call):
            name = house.name_of(node.func)
            if FAILING_CALL.search(name) or name in checkers:
                return True
    return False


def checkers_of(tree: ast.Module, known: set[str]) -> set[str]:
    """Names of the file's own functions that can fail, be it through others of them."""
    functions = [n for n in tree.body if isinstance(n, Function) and n.name[:5] != "test_"]
    found = set(known)
    while more := {f.name for f in functions if f.name not in found and can_fail(f, found)}:
        found |= more
    return found


@cache
def checkers_of_module(name: str) -> frozenset[str]:
    """The same of a module that tests share, such as `runs`; none where there is no such file."""
    paths = [path for path in house.TESTS.rglob(f"{name}.py") if not path.name.startswith("test_")]
    return frozenset(
        checker for path in paths for checker in checkers_of(ast.parse(path.read_text()), set())
    )


def imported_checkers(tree: ast.Module) -> set[str]:
    """Checkers of shared modules, by the names they have in this file."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                own = alias.asname or alias.name
                found |= {f"{own}.{name}" for name in checkers_of_module(alias.name)}
        elif isinstance(node, ast.ImportFrom) and node.module:
            theirs = checkers_of_module(node.module)
            found |= {alias.asname or alias.name for alias in node.names if alias.name in theirs}
    return found


def idle_tests(tree: ast.Module) -> list[str]:
    """Names of the tests of a file that can't fail but by an error."""
    checkers = checkers_of(tree, imported_checkers(tree))
    return [function.name for function in cases_of(tree) if not can_fail(function, checkers)]


def test_every_test_can_fail() -> None:
    idle = [
        f"{path.name}::{name}" for path, tree in house.parsed_tests() for name in idle_tests(tree)
    ]
    assert not idle


@pytest.mark.parametrize(
    ("text", "idle"),
    [
        ("def test_a():\n    assert f() == 1", []),
        ("def test_a():\n    assert True", ["test_a"]),
        ("def test_a():\n    check_it()", ["test_a"]),
        ("def check_it():\n    print(1)\ndef test_a():\n    check_it()", ["test_a"]),
        ("def look():\n    assert f()\ndef test_a():\n    look()", []),
        ("def f():\n    assert g()\ndef look():\n    f()\ndef test_a():\n    look()", []),
        ("from runs import is_bit_equal\ndef test_a():\n    is_bit_equal(1, 2)", ["test_a"]),
        ("import numpy as np\ndef test_a():\n    np.testing.assert_allclose(1, 2)", []),
        ("import pytest\ndef test_a():\n    with pytest.raises(OSError):\n        f()", []),
    ],
)
def test_idle_tests_are_found(text: str, idle: list[str]) -> None:
    assert idle_tests(ast.parse(text)) == idle


def test_no_test_is_defined_twice_in_a_file() -> None:
    twice = []
    for path, tree in house.parsed_tests():
        names = [function.name for function in cases_of(tree)]
        twice += [f"{path.name}::{name}" for name in set(names) if names.count(name) > 1]
    assert not twice


def test_tests_are_plain_functions_without_mocks() -> None:
    wrong = []
    for path, tree in house.parsed_tests():
        wrong += [
            f"{path.name}: class {n.name}"
            for n in house.classes_of(tree)
            if n.name.startswith("Test")
        ]
        for node in ast.walk(tree):
            if isinstance(node, (ast.Import, ast.ImportFrom)) and "mock" in ast.unparse(node):
                wrong.append(f"{path.name}:{node.lineno}")
    assert not wrong


def test_tests_mirror_the_source() -> None:
    rooms = {path.name for path in house.SOURCE.iterdir() if path.is_dir()} - {"__pycache__"}
    folders = {path.name for path in house.TESTS.iterdir() if path.is_dir()} - {"__pycache__"}
    assert folders - rooms <= {"laws", "faults"}
    assert rooms <= folders


def test_every_module_has_a_test_file() -> None:
    own, elsewhere = set(), set()
    for module in house.modules():
        path = module.path.relative_to(house.SOURCE)
        if path.name == "__init__.py":
            continue
        has_file = (house.TESTS / path.with_name(f"test_{path.name}")).is_file()
        (own if has_file else elsewhere).add(module.name)
    assert elsewhere - set(HELD_ELSEWHERE) == set()  # write the file, or say which one holds it
    assert set(HELD_ELSEWHERE) - elsewhere == set()  # take it out of the table
    missing = {file for file, _ in HELD_ELSEWHERE.values() if not (house.TESTS / file).is_file()}
    assert missing == set()
    assert [name for name, (_, reason) in HELD_ELSEWHERE.items() if len(reason.split()) < 3] == []


def test_skipped_tests_give_their_reason() -> None:
    wrong = []
    for path, tree in house.parsed_tests():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = house.name_of(node.func)
            if name.endswith(("mark.skip", "mark.skipif", "mark.xfail", "pytest.skip")) and not (
                [k for k in node.keywords if k.arg == "reason"]
                or (name == "pytest.skip" and node.args)
            ):
                wrong.append(f"{path.name}:{node.lineno}")
    assert not wrong
