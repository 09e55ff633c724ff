"""What a report's head says of a model."""

from pathlib import Path
from typing import TYPE_CHECKING

from localmix.amounts import amount
from localmix.measure import inventory

if TYPE_CHECKING:
    from localmix.model import Model


def of_model(model: "Model") -> list[tuple[str, str]]:
    """Its name, file, size and what computed it."""
    found, file = inventory.take(model.file), Path(model.file.path)
    return [
        ("model", str(model.file.metadata.get("general.name") or file.stem)),
        ("file", f"{file.name}, {amount(model.file.size, 'B')}"),
        (
            "weights",
            f"{amount(found.weights)}, {amount(found.active)} of them read per token, {found.bits:.2f} bits each",
        ),
        ("computed by", f"{model.backend.name}, {model.backend.isa}"),
    ]
