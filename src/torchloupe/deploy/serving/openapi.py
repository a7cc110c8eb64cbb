"""The routes as an OpenAPI 3.1 document."""

from typing import Any

from torchloupe.deploy.serving.limits import Limits

_TEXT = {"type": "string"}
_ENCODED = {"type": "string", "contentEncoding": "base64"}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ANSWER = {
    "type": "object",
    "properties": {
        "label": _TEXT,
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "labels": {"type": "array", "items": _TEXT},
        "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
        "unsure": {"type": ["boolean", "null"]},
        "error": {"type": "string", "description": "why this image has no answer"},
    },
}
_ANSWERS = {"type": "object", "properties": {"predictions": {"type": "array", "items": _ANSWER}}}
_SHOWN = {"type": "object", "properties": {"label": _TEXT, "layer": _TEXT, "png": _ENCODED}}
_ERROR = {"type": "object", "properties": {"error": _TEXT, "hint": _TEXT}, "required": ["error"]}
_REFUSALS = {
    "400": "a malformed request",
    "401": "the token is missing or wrong",
    "413": "too large",
    "415": "a type of body that is not read",
    "422": "the image can't be read",
    "503": "too busy; see Retry-After",
}
_TOP = {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 5}}
_READABLE = {
    "/classes": "Class names in order",
    "/healthz": "Whether the process lives",
    "/readyz": "Whether it takes more images",
    "/metrics": "Counts for Prometheus",
}


def describe_api(limits: Limits) -> dict[str, Any]:
    """The document, as plain values."""
    readable = {
        path: {"get": {"summary": text, "responses": {"200": {"description": text}}}}
        for path, text in _READABLE.items()
    }
    predict = _operation("Classes of one image or several", limits, {"oneOf": [_ANSWER, _ANSWERS]})
    predict["parameters"] = [_TOP]
    look = _operation("Where the model looked", limits, _SHOWN)
    return {
        "openapi": "3.1.0",
        "info": {"title": "torchloupe", "version": "1"},
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _ERROR, "Answer": _ANSWER},
        },
        "paths": {"/predict": {"post": predict}, "/look": {"post": look}, **readable},
    }


def _operation(summary: str, limits: Limits, answer: dict[str, Any]) -> dict[str, Any]:
    """A route that takes images."""
    several = {"type": "array", "items": _ENCODED, "maxItems": limits.images}
    sent = {"type": "object", "properties": {"image": _ENCODED, "images": several}}
    content = {"image/*": _BINARY, "application/octet-stream": _BINARY, **_json(sent)}
    errors = {
        status: {"description": text, "content": _json({"$ref": "#/components/schemas/Error"})}
        for status, text in _REFUSALS.items()
    }
    good = {"200": {"description": summary, "content": _json(answer)}}
    body = {"required": True, "content": content}
    return {"summary": summary, "requestBody": body, "responses": {**good, **errors}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
