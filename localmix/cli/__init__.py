"""The command line: `main` is the program. Loading it takes a moment, and may be interrupted."""

import sys


def main() -> None:
    """Run the command line. What a user can cause is one line on stderr and exit code 1."""
    if sys.platform == "win32":
        sys.exit("localmix: this is Windows, expected Linux or macOS: install localmix inside WSL")
    try:
        from localmix.cli.app import execute
    except KeyboardInterrupt:
        sys.exit(130)
    execute()
