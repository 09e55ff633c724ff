"""Where the model is that comes with the program: in the checkout's models/, or inside the installed package."""

from pathlib import Path

from localmix.errors import LocalmixError

NAME = "stories-moe.Q4_K_M.gguf"
SHORT = "stories-moe"  # what it is called where a model is named


def model_path() -> Path:
    """The bundled model's file."""
    package = Path(__file__).parents[1]
    places = [package / "models" / NAME, package.parent / "models" / NAME]  # the wheel's place, the checkout's
    for path in places:
        if path.is_file():
            return path
    raise LocalmixError(f"the bundled model is missing: expected {places[0]}; install localmix again, or name a model")
