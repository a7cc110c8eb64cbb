"""`loupe info`: versions, devices and caches of this machine."""

from typing import Any

from torchloupe.cli.options import (
    Json,
    results_only,
)


def info(
    as_json: Json = False,
) -> None:
    """Show versions, devices, number formats, threads, cache.

    loupe info

    loupe info --json
    """
    from torchloupe.cli.text import print_text, to_json

    with results_only():
        from torchloupe.cli.machine import describe_machine, look_at_machine

        facts: dict[str, Any] = look_at_machine()
    if as_json:
        print(to_json(facts))
    else:
        print_text(describe_machine(facts))
