"""`localmix list`: the models that were pulled."""

from localmix.amounts import amount
from localmix.cli.parameters import Json, Output
from localmix.cli.streams import json_text, note, write


def list(output: Output, as_json: Json = False) -> None:
    """List the models that were pulled."""
    from localmix.store import pulled as store

    models = store.pulled()
    if as_json:
        rows = [{"name": str(m.name), "bytes": m.size, "path": str(m.path)} for m in models]
        write(json_text(rows, indent=2))
        return
    for model in models:
        write(f"{model.name}\t{amount(model.size, 'B')}\t{model.path}\n")
    if not models and not output.quiet:
        note(f"localmix: no models in {store.folder()}: get one with localmix pull mixtral")
