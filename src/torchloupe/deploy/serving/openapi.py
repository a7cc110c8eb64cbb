"""The routes as an OpenAPI 3.1 document."""

from typing import Any

from torchloupe.deploy.serving.limits import Limits

_TEXT = {"type": "string"}
_ENCODED = {"type": "string", "contentEncoding": "base64"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_REFUSALS = {
    "400": "a malformed request",
    "401": "the token is missing or wrong",
    "403": "a request of another site",
    "408": "the body took too long",
    "413": "too large",
    "415": "a type of body that is not read",
    "421": "a Host that is none of this server's names",
    "422": "the image can't be read",
    "500": "the server failed",
    "503": "too busy; see Retry-After",
}
_TOP = {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 5}}
_READABLE = {  # what it tells, and what else it may answer
    "/classes": ("Class names in order", ("401",)),
    "/healthz": ("Whether the process lives", ()),
    "/readyz": ("Whether it takes more images", ("503",)),
    "/metrics": ("Counts for Prometheus", ("401",)),
}


def describe_api(limits: Limits) -> dict[str, Any]:
    """The document, as plain values."""
    readable = {}
    for path, (text, others) in _READABLE.items():
        answers = {"200": {"description": text}}
        answers |= {status: {"description": _REFUSALS[status]} for status in others}
        token: dict[str, Any] = {} if "401" in others else {"security": []}
        readable[path] = {"get": {"summary": text, "responses": answers, **token}}
    predict = _operation(
        "Classes of one image or several", limits, {"oneOf": _refer("Answer", "Answers")}
    )
    predict["parameters"] = [_TOP]
    look = _operation("Where the model looked", limits, *_refer("Look"))
    look["responses"]["501"] = {"description": "an exported model can't say where it looked"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "torchloupe", "version": "1"},
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _SCHEMAS,
        },
        "paths": {"/predict": {"post": predict}, "/look": {"post": look}, **readable},
    }


def _operation(summary: str, limits: Limits, answer: dict[str, Any]) -> dict[str, Any]:
    """A route that takes images."""
    several = {"type": "array", "items": _ENCODED, "maxItems": limits.images}
    sent = {"type": "object", "properties": {"image": _ENCODED, "images": several}}
    content = {"image/*": _BINARY, "application/octet-stream": _BINARY, **_json(sent)}
    content_of_errors = _json(*_refer("Error"))
    errors = {
        status: {"description": text, "content": content_of_errors}
        for status, text in _REFUSALS.items()
    }
    good = {"200": {"description": summary, "content": _json(answer)}}
    body = {"required": True, "content": content}
    return {"summary": summary, "requestBody": body, "responses": {**good, **errors}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _object(optional: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object that has all of these properties but the optional ones."""
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": needed}


def _refer(*names: str) -> list[dict[str, Any]]:
    return [{"$ref": f"#/components/schemas/{name}"} for name in names]


# No answer fits two of them, so that `oneOf` says which it is.
_SCHEMAS = {
    "Answer": _object(
        label=_TEXT,
        confidence={"type": "number", "minimum": 0, "maximum": 1},
        labels={"type": "array", "items": _TEXT},
        probabilities={"type": "object", "additionalProperties": {"type": "number"}},
        unsure={"type": ["boolean", "null"]},
    ),
    "Answers": _object(
        predictions={"type": "array", "items": {"oneOf": _refer("Answer", "Error")}}
    ),
    "Look": _object(label=_TEXT, layer=_TEXT, png=_ENCODED),
    "Error": _object(("hint",), error=_TEXT, hint=_TEXT),
}
