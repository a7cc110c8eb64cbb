"""The augmentation of an ejected file: torchvision's transforms of the same kinds."""

from torchloupe.config.schema import AugmentConfig
from torchloupe.data.augmentation.augment import Augment
from torchloupe.deploy.ejection.facts import Facts
from torchloupe.deploy.ejection.text import Part, literal


def describe_augmentation(settings: AugmentConfig, facts: Facts, part: Part) -> None:
    """torchvision's transforms of the same kind and strength."""
    if Augment.from_settings(settings).is_off:
        return
    part.flags.add("augment")
    part.packages.add("torchvision")
    part.differs.append(
        "augmentation is torchvision's, of the same kinds and strengths: other draws, so other "
        "weights"
    )
    part.values["augment"] = _write_augmentation(settings, facts)


def _write_augmentation(settings: AugmentConfig, facts: Facts) -> str:
    fill = {"edge": "edge", "reflect": "reflect", "zero": "constant"}[settings.padding]
    height, width = facts.contract.size
    each: list[str] = []
    if settings.policy in ("randaugment", "trivialaugment"):
        strength = round(30 * settings.policy_strength)
        made = f"v2.RandAugment({settings.policy_count}, magnitude={strength})"
        each.append(made if settings.policy == "randaugment" else "v2.TrivialAugmentWide()")
    if any((settings.brightness, settings.contrast, settings.saturation, settings.hue)):
        most = (settings.brightness, settings.contrast, settings.saturation, settings.hue)
        each.append(f"v2.ColorJitter{literal(most)}")
    if settings.resized_crop:
        each.append(f"v2.RandomResizedCrop(SIZE, scale=({settings.resized_crop!r}, 1.0))")
    shift = settings.translate
    if settings.rotate_degrees or settings.scale:
        words = [literal(settings.rotate_degrees)]
        words += [f"translate=({shift!r}, {shift!r})"] if shift else []
        zoom = settings.scale
        words += [f"scale=({1 - zoom!r}, {1 + zoom!r})"] if zoom else []
        each.append(
            f"v2.RandomAffine({', '.join(words)}, interpolation=v2.InterpolationMode.BILINEAR)"
        )
    elif shift:
        border = [round(shift * width), round(shift * height)]
        each.append(f'v2.RandomCrop(SIZE, padding={border}, padding_mode="{fill}")')
    if settings.flip:
        each.append("v2.RandomHorizontalFlip()")
    if settings.erase:
        area = settings.erase**2
        each.append(f"v2.RandomErasing(1.0, scale=({area!r}, {area!r}), ratio=(1.0, 1.0))")
    whole = [f"v2.{name}(alpha={value!r}, num_classes=len(CLASSES))" for name, value in
             (("MixUp", settings.mixup), ("CutMix", settings.cutmix)) if value]  # fmt: skip
    lines = [
        "def augment(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:",
        '    """Training images [B, C, H, W], each changed by draws of its own."""',
    ]
    colours = settings.policy in ("randaugment", "trivialaugment") or any(
        (settings.brightness, settings.contrast, settings.saturation, settings.hue)
    )
    if colours:  # which need to know what black and white are
        lines += [
            "    mean, std = (torch.tensor(v, device=DEVICE)[:, None, None] for v in (MEAN, STD))",
            "    images = (images * std + mean).clamp(0, 1)  # black is 0, white is 1",
        ]
    if each:
        lines += ["    change = v2.Compose(", "        [", *(f"            {e}," for e in each)]
        lines += [
            "        ]",
            "    )",
            "    images = torch.stack([change(image) for image in images])",
        ]
    if colours:
        lines.append("    images = (images - mean) / std")
    if whole:
        mixed = whole[0] if len(whole) == 1 else f"v2.RandomChoice([{', '.join(whole)}])"
        lines.append(f"    images, labels = {mixed}(images, labels)")
    return "\n".join([*lines, "    return images, labels"])
