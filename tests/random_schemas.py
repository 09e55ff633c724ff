"""Random JSON schemas whose texts are bounded, and a check of values that knows just their keywords."""

import random
from typing import Any

KINDS = ("string", "integer", "boolean", "null", "enum", "const", "pattern", "array", "tuple", "object", "anyOf")


def schema(random: random.Random, depth: int = 3) -> dict[str, Any]:
    """A schema that has values, all of them short."""
    kind = random.choice(KINDS if depth else KINDS[:7])
    match kind:
        case "string":
            least = random.randrange(3)
            return {"type": "string", "minLength": least, "maxLength": least + random.randrange(12)}
        case "integer":
            low = random.randrange(-1000, 1000)
            return {"type": "integer", "minimum": low, "maximum": low + random.randrange(2000)}
        case "enum":
            return {"enum": random.sample(["red", "grün", "blue\n", '"', 1, 2.5, None, True, []], 3)}
        case "const":
            return {"const": random.choice(["x", 7, {"a": [1, "é"]}])}
        case "pattern":
            return {"type": "string", "pattern": random.choice(["^[a-f]{2,4}$", "^\\d{4}-\\d{2}$", "^(yes|no)$"])}
        case "array":
            least = random.randrange(2)
            items = schema(random, depth - 1)
            return {"type": "array", "items": items, "minItems": least, "maxItems": least + random.randrange(3)}
        case "tuple":
            parts = [schema(random, depth - 1) for _ in range(random.randrange(1, 3))]
            return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}
        case "object":
            names = random.sample(["name", "age", "größe", "a b", "tags", "x\\y"], random.randrange(1, 4))
            return {
                "type": "object",
                "properties": {name: schema(random, depth - 1) for name in names},
                "required": random.sample(names, random.randrange(len(names) + 1)),
                "additionalProperties": False,
            }
        case "anyOf":
            return {"anyOf": [schema(random, depth - 1) for _ in range(2)]}
    return {"type": kind}
