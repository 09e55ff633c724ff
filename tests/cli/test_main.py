import platform
import resource
import statistics
import subprocess
import sys

import pytest
from command_line import MAIN, ROOT, environment, localmix

from localmix import cli
from localmix.answer.options import Options

HEAVY = ("numpy", "numba", "llvmlite", "mlx", "sentencepiece", "tokenizers", "jinja2", "rich", "prompt_toolkit", "gguf")


def processor_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True, env=environment())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_is_instant() -> None:
    """Under 0.2 s on a machine of today, where loading Typer takes 0.09: of slower or busy ones more is not asked."""
    ratios = []
    for _ in range(7):  # in turn: a machine may be fast in one second and slow in the next
        typer, seconds = processor_seconds(sys.executable, "-c", "import typer"), processor_seconds(*MAIN, "--help")
        if seconds < 0.2:
            return
        ratios.append(seconds / typer)
    assert statistics.median(ratios) < 2.2


def test_help_loads_nothing() -> None:
    code = (
        f"import sys; from localmix.cli.app import program; program(); print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


WARM = """
import sys
from localmix.cli import main
try:
    main()
finally:
    unused = {"numba", "llvmlite", "numpy.ma", "importlib.metadata", "localmix.cli.bench", "localmix.server"}
    print(*sorted(unused & sys.modules.keys()), file=sys.stderr)
"""


@pytest.mark.skipif(platform.machine() != "x86_64" or sys.platform != "linux", reason="elsewhere LLVM loads kernels")
def test_a_second_start_loads_what_it_needs() -> None:
    command = [sys.executable, "-c", WARM, "run", "Hi", "-n", "1", "-q"]
    for _ in range(2):
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert done.stderr in ("\n", "importlib.metadata\n")  # as pydantic does, where Typer loads that


def test_importing_the_library_loads_nothing() -> None:
    code = f"import sys, localmix; print([m for m in {(*HEAVY, 'typer')} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "[]\n"


def test_help_names_the_commands() -> None:
    done = localmix("--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in ("run", "chat", "info"))


@pytest.mark.parametrize("command", ["run", "chat"])
def test_help_states_the_defaults(command: str) -> None:
    text = " ".join(localmix(command, "--help").stdout.split())
    for name in ("temp", "top_k", "top_p", "min_p", "repeat_penalty", "repeat_last_n"):
        described = text.partition(f"--{name.replace('_', '-')} ")[2]
        assert described.partition("[default: ")[2].startswith(f"({getattr(Options, name)}, or the file's)]")


def test_an_error_is_one_line_and_exit_code_1() -> None:
    done = localmix("run", "-m", "none\x1b[31m\n.gguf", "hi")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("localmix: none␛[31m .gguf")
    assert done.stderr.count("\n") == 1


def test_debug_shows_the_traceback() -> None:
    done = localmix("run", "-m", "none.gguf", "hi", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_unknown_options_are_errors() -> None:
    done = localmix("run", "--tempp", "1", "hi")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--tempp" in done.stderr


def test_version() -> None:
    assert localmix("--version").stdout.startswith("localmix 0.")


def test_windows_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit, match="this is Windows, expected Linux or macOS"):
        cli.main()


INTERRUPTED = """
import sys
class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "localmix.cli.app":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
from localmix.cli import main
main()
"""


def test_ctrl_c_while_the_program_is_loaded() -> None:
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
