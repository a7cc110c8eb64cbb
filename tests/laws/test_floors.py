"""Imports go downward only, rooms keep to themselves, and nothing goes round."""

import ast
import re

import house


def test_every_module_has_a_floor() -> None:
    homeless = [
        module.name
        for module in house.modules()
        if module.name and not any(module.top in rooms for rooms in house.FLOORS)
    ]
    assert not homeless, (
        f"say in tests/laws/house.py and ARCHITECTURE.md where they live: {homeless}"
    )


def test_nothing_stands_loose_at_the_root() -> None:
    assert {path.stem for path in house.SOURCE.glob("*.py")} == house.LOOSE


def test_imports_go_downward_only() -> None:
    wrong = []
    for module in house.modules():
        if not module.name:
            continue  # the package's own front, which hands out names of every floor
        floor = house.floor_of(module.top)
        for target, line in house.imports_of(module):
            if not target:
                continue  # torchloupe itself: its version
            top = target.partition(".")[0]
            if top != module.top and house.floor_of(top) >= floor:
                wrong.append(f"{module.name}:{line} imports {target}")
    assert not wrong


def test_imports_have_no_cycle() -> None:
    graph = {
        module.name: {target for target, _ in house.imports_of(module) if target}
        for module in house.modules()
        if module.name
    }
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"cycle: {' -> '.join((*trail[trail.index(name) :], name))}"
        if name not in done:
            for target in graph.get(name, ()):
                if target != name:
                    walk(target, (*trail, name))
            done.add(name)

    for name in graph:
        walk(name, ())
    assert done >= set(graph)


def test_imports_stand_at_the_top_but_of_extras_slow_parts_and_the_command() -> None:
    wrong = []
    for module in house.modules():
        if module.top in ("", "cli"):
            continue  # the front and the command load torch only when it is needed
        for function in house.functions_of(module.tree):
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or ""]
                else:
                    continue
                wrong += [
                    f"{module.name}:{node.lineno} {name}"
                    for name in names
                    if name not in house.EXTRAS | house.SLOW
                    and name.partition(".")[0] not in house.EXTRAS
                ]
    assert not wrong


def test_architecture_page_shows_each_room_on_its_floor() -> None:
    page = (house.ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    drawn = {
        int(line.split()[0]): set(line.replace("/", " ").split())
        for line in page.splitlines()
        if re.match(r"[ 1]\d  ", line)
    }
    missing = [
        room
        for floor, rooms in enumerate(house.FLOORS, 1)
        for room in rooms
        if room not in drawn.get(floor, set())
    ]
    assert not missing
    assert len(drawn) == len(house.FLOORS)
