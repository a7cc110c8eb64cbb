"""What tests of exports share: a change of an artefact, and images that show it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from torchloupe.deploy.artefact.corpus import make_odd_files
from torchloupe.deploy.artefact.evidence import Evidence
from torchloupe.trained.run import Run

Plant = Callable[[Path], None]


def scale_of(scope: str, by: float) -> Plant:
    """The constants that the first node of a module takes, multiplied."""

    def plant(folder: Path) -> None:
        path = folder / "model.onnx"
        model = onnx.load(path)
        values = {value.name: value for value in model.graph.initializer}
        for node in model.graph.node:
            scopes = "".join(item.value for item in node.metadata_props)
            taken = [name for name in node.input if name in values]
            if f"'{scope}'" in scopes and taken:
                for name in taken:
                    changed = numpy_helper.to_array(values[name]) * np.float32(by)
                    values[name].CopyFrom(numpy_helper.from_array(changed, name))
                break
        else:
            raise AssertionError(scope)
        onnx.save(model, path)

    return plant


def heat_by(by: float) -> Plant:
    """Probabilities of logits that were multiplied on the way."""

    def plant(folder: Path) -> None:
        path = folder / "model.onnx"
        model = onnx.load(path)
        (last,) = [node for node in model.graph.node if node.op_type == "Softmax"]
        model.graph.initializer.append(numpy_helper.from_array(np.float32(by), "heat"))
        place = list(model.graph.node).index(last)
        model.graph.node.insert(
            place, onnx.helper.make_node("Mul", [last.input[0], "heat"], ["heated"], "heating")
        )
        last.input[0] = "heated"
        onnx.save(model, path)

    return plant


def evidence_of(run: Run) -> Evidence:
    """Odd images that show every one of the mismatches."""
    wanted = ("turn 6.jpg", "cmyk.jpg", "clear palette.png", "large.jpg", "tall.png", "wide.jpg")
    files = dict(make_odd_files())
    return Evidence([(name, files[name]) for name in wanted], 0, None, ())
