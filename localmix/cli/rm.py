"""`localmix rm`: delete a model that was pulled."""

from typing import Annotated

import typer

from localmix.amounts import amount
from localmix.cli.parameters import Output
from localmix.cli.streams import note
from localmix.errors import LocalmixError


def rm(
    output: Output,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name that localmix list shows.")],
) -> None:
    """Delete a model that was pulled."""
    from localmix.store import pulled as store

    wanted = store.parse(name)
    model = store.find(wanted) if wanted else None
    if model is None:
        raise LocalmixError(f"{name}: not a pulled model; {store.here()}")
    size = model.size
    store.remove(model)
    if not output.quiet:
        note(f"localmix: deleted {model.name}, {amount(size, 'B')}")
