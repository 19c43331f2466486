"""`schema`: the JSON Schema of scratch.toml."""

from __future__ import annotations


def schema_text() -> str:
    """The JSON Schema as docs/scratch.schema.json has it."""
    import json

    from rootless_scratch.image.plan.specschema import schema

    return json.dumps(schema(), indent=2) + "\n"
