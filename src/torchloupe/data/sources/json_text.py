"""JSON in which no key may say two things: what Python reads of them is the last."""

import json
from typing import Any

from torchloupe.errors import DataError, printable


def parse_json(text: str, shown: str) -> Any:
    """The content of a text of JSON; ValueError if it is none.

    DataError where an object has a key twice, with other values; `shown` names the file.
    """

    def join(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        for key, value in pairs:
            if value != found[key]:
                raise DataError(
                    f"{shown} has the key {printable(key, 80)!r} twice, with "
                    f"{printable(value, 40)!r} and {printable(found[key], 40)!r}",
                    "write each key once; an image of several labels has them in a list: "
                    '{"1.jpg": ["a", "b"]}',
                )
        return found

    return json.loads(text, object_pairs_hook=join)
