"""The routes as an OpenAPI 3.1 document."""

from typing import Any

from torchloupe.deploy.serving.limits import Limits


def describe_api(limits: Limits) -> dict[str, Any]:
    """The document, as plain values."""
    answer = {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "labels": {"type": "array", "items": {"type": "string"}},
            "probabilities": {"type": "object", "additionalProperties": {"type": "number"}},
            "unsure": {"type": ["boolean", "null"]},
            "error": {"type": "string", "description": "why this image has no answer"},
        },
    }
    error = {
        "type": "object",
        "properties": {"error": {"type": "string"}, "hint": {"type": "string"}},
        "required": ["error"],
    }
    encoded = {"type": "string", "contentEncoding": "base64"}
    several = {"type": "array", "items": encoded, "maxItems": limits.images}
    body = {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"image": encoded, "images": several},
                }
            },
        },
    }
    answers = {"type": "object", "properties": {"predictions": {"type": "array", "items": answer}}}
    shown = {
        "type": "object",
        "properties": {
            "label": {"type": "string"},
            "layer": {"type": "string"},
            "png": encoded,
        },
    }
    refusals = {
        "400": "a malformed request",
        "401": "the token is missing or wrong",
        "413": "too large",
        "415": "a type of body that is not read",
        "422": "the image can't be read",
        "503": "too busy; see Retry-After",
    }
    errors = {
        status: {"description": text, "content": _json({"$ref": "#/components/schemas/Error"})}
        for status, text in refusals.items()
    }
    top = {"name": "top", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 5}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "torchloupe", "version": "1"},
        "security": [{"token": []}],
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": error, "Answer": answer},
        },
        "paths": {
            "/predict": {
                "post": _operation("Classes of one image or several", body, errors, top,
                                   {"oneOf": [answer, answers]})
            },
            "/look": {"post": _operation("Where the model looked", body, errors, None, shown)},
            **{
                path: {"get": {"summary": text, "responses": {"200": {"description": text}}}}
                for path, text in (
                    ("/classes", "Class names in order"),
                    ("/healthz", "Whether the process lives"),
                    ("/readyz", "Whether it takes more images"),
                    ("/metrics", "Counts for Prometheus"),
                )
            },
        },
    }  # fmt: skip


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _operation(
    summary: str,
    body: dict[str, Any],
    errors: dict[str, Any],
    parameter: dict[str, Any] | None,
    answer: dict[str, Any],
) -> dict[str, Any]:
    good = {"200": {"description": summary, "content": _json(answer)}}
    found = {"summary": summary, "requestBody": body, "responses": {**good, **errors}}
    return found if parameter is None else {**found, "parameters": [parameter]}
