"""Serves a small model for schemathesis, which asks all that /openapi.json describes: no status of 500 or more.

By hand, in an environment that has localmix; the program of schemathesis may be of another:
    python tests/peers/described.py path/to/schemathesis [MODEL.gguf] [--examples 50]
Answers are short: random bodies rarely ask for few tokens.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import localmix
from localmix.answer.defaults import Defaults

sys.path.insert(0, str(Path(__file__).parents[1]))
from server.served import served

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("schemathesis")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--examples", default="50")
    given = parser.parse_args()
    model = localmix.load(given.model)
    model.defaults = Defaults({"max_tokens": 4})
    with served(model, context=256, memory=64 << 20) as server:
        url = f"http://127.0.0.1:{server.port}/openapi.json"
        program = str(Path(given.schemathesis).resolve())
        command = [program, "run", url, "--checks", CHECKS, "--max-examples", given.examples, "--seed", "1"]
        command += ["--continue-on-failure", "--request-timeout", "60"]
        with tempfile.TemporaryDirectory() as folder:  # it leaves files
            code = subprocess.run(command, check=False, cwd=folder).returncode
        assert server.idle(), "a place is lost"
        sys.exit(code)


if __name__ == "__main__":
    main()
