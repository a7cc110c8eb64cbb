"""The optimizer of an ejected file: torch's by name, Muon as source, one's own by import."""

import inspect
from typing import Any

from torchloupe.config.schema import Config
from torchloupe.deploy.ejection.model import import_object
from torchloupe.deploy.ejection.text import Part, assign, call, keywords
from torchloupe.model import muon
from torchloupe.model.optimizers import OPTIMIZERS
from torchloupe.recipes.choice import PRETRAINED


def write_optimizer(config: Config, part: Part) -> str:
    """`make_optimizer` of the file, and Muon's source where it is Muon."""
    settings = config.optimizer
    kind = OPTIMIZERS.get(settings.name.lower())
    is_muon = kind is muon.Muon
    name = (
        import_object(settings.name, part)
        if kind is None
        else "Muon"
        if is_muon
        else f"torch.optim.{kind.__name__}"
    )
    words = ["groups"]
    if settings.lr:
        part.settings.append(assign("LEARNING_RATE", settings.lr, "its highest"))
        words.append("lr=LEARNING_RATE")
    words += keywords(settings.options)
    decay = settings.weight_decay
    if decay is None and kind is not None:
        found = inspect.signature(kind).parameters.get("weight_decay")
        decay = None if found is None else float(found.default)
    lines = _group_lines(config, decay, is_muon, part)
    doc = '    """The optimizer."""\n'
    if decay:
        doc = '    """The optimizer; weights decay, biases and norms do not."""\n'
    code = f"def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:\n{doc}"
    code += "\n".join(lines) + f"\n    optimizer = {call(name, words)}\n"
    factor = ' * group.get("factor", 1.0)' if config.train.strategy in PRETRAINED else ""
    code += (
        "    for group in optimizer.param_groups:\n"
        f'        group["initial_lr"] = group["lr"]{factor}\n    return optimizer'
    )
    if not is_muon:
        return code
    pieces: list[Any] = [muon.Muon, muon.orthogonalise, muon._by_shape]
    constants = f"ROUNDS = {muon.ROUNDS}\nQUINTIC = {muon.QUINTIC}  # of Jordan et al. 2024\n"
    constants += f"ADAM_RMS = {muon.ADAM_RMS}  # of AdamW's steps, in units of the learning rate"
    return "\n\n\n".join([code, constants, *(inspect.getsource(p).rstrip() for p in pieces)])


def _group_lines(config: Config, decay: float | None, is_muon: bool, part: Part) -> list[str]:
    """The lines that divide the parameters into groups."""
    trained = "[weight for weight in model.parameters() if weight.requires_grad]"
    if not decay and not is_muon and config.train.strategy not in PRETRAINED:
        if decay is None:
            return [f"    groups = {trained}"]
        made = '    groups = [{"params": trained, "weight_decay": 0.0}]'
        return [f"    trained = {trained}", made]
    part.settings.append(assign("WEIGHT_DECAY", decay or 0.0))
    lines = [
        f"    trained = {trained}",
        "    matrices = [weight for weight in trained if weight.ndim >= 2]",
        "    others = [weight for weight in trained if weight.ndim < 2]",
    ]
    if config.train.strategy in PRETRAINED:
        return [
            *lines,
            "    factor_of = factors(model)",
            "    groups = []",
            "    for decay, members in ((WEIGHT_DECAY, matrices), (0.0, others)):",
            "        own = [factor_of.get(id(weight), 1.0) for weight in members]",
            "        for factor in dict.fromkeys(own):",
            "            chosen = [w for w, f in zip(members, own, strict=True) if f == factor]",
            '            group = {"params": chosen, "weight_decay": decay, "factor": factor}',
            "            groups.append(group)",
        ]
    if is_muon:
        return [
            *lines,
            "    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]",
            "    last = [layer.weight for layer in linear[-1:]]  # AdamW learns the classes better",
            "    hidden = [w for w in matrices if all(w is not one for one in last)]",
            "    groups = [",
            '        {"params": hidden, "weight_decay": WEIGHT_DECAY, "orthogonal": True},',
            '        {"params": last, "weight_decay": WEIGHT_DECAY, "orthogonal": False},',
            '        {"params": others, "weight_decay": 0.0, "orthogonal": True},',
            "    ]",
            '    groups = [group for group in groups if group["params"]]',
        ]
    return [
        *lines,
        "    groups = [",
        '        {"params": matrices, "weight_decay": WEIGHT_DECAY},',
        '        {"params": others, "weight_decay": 0.0},',
        "    ]",
        '    groups = [group for group in groups if group["params"]]',
    ]
