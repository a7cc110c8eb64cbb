"""torch's compiler is left out where nothing is compiled, and found where something is."""

import subprocess
import sys

MAKE = """
import sys, torch
from torchloupe.system.compiler import leave_out_compiler
{before}
model = torch.nn.Linear(2, 2)
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print("torch._dynamo" in sys.modules)
{after}
"""
COMPILE = """
step = torch.compile(lambda x: torch.sin(model(x)) * 2, backend="eager")
step(torch.ones(3, 2)).sum().backward()
optimizer.step()
print("torch._dynamo" in sys.modules, bool(model.weight.grad.any()))
"""


def python(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_optimizers_are_made_without_the_compiler_and_compiling_works_later():
    script = MAKE.format(before="assert leave_out_compiler()", after=COMPILE)
    assert python(script) == ["False", "True", "True"]


def test_nothing_is_changed_once_the_compiler_is_imported():
    before = "import torch._dynamo; assert not leave_out_compiler()"
    after = "print(vars(torch.optim.Optimizer.zero_grad.__wrapped__).keys())"
    found = python(MAKE.format(before=before, after=after))
    assert found[0] == "True"


STEP = """
import sys, torch
from torchloupe.system.compiler import leave_out_compiler
if {leaves}:
    assert leave_out_compiler()
torch.manual_seed(0)
found = []
for make in (torch.optim.AdamW, torch.optim.Adam, torch.optim.SGD, torch.optim.RMSprop):
    model = torch.nn.Linear(3, 2)
    optimizer = make(model.parameters(), lr=0.1)
    for _ in range(3):
        model(torch.ones(2, 3)).square().sum().backward()
        seen = []
        optimizer.step(lambda: seen.append(torch.is_grad_enabled()) or model.weight.sum())
        optimizer.zero_grad()
    found += [*model.weight.flatten().tolist(), seen, torch.is_grad_enabled()]
weight = torch.ones(2, requires_grad=True)
moved = weight * 2
optimizer = torch.optim.SGD([moved], lr=0.5, differentiable=True)
moved.grad = weight * 3
optimizer.step()
moved.sum().backward()
found.append(weight.grad.tolist())
print(str(found).replace(" ", ""), "torch._dynamo" in sys.modules)
"""


def test_steps_do_the_same_without_the_compiler():
    with_it, without_it = (python(STEP.format(leaves=leaves)) for leaves in (False, True))
    assert without_it[0] == with_it[0]
    assert (with_it[1], without_it[1]) == ("True", "False")
