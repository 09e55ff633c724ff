"""--ram: what does not fit is streamed, which is said, or refused by name."""

from pathlib import Path

import pytest
import random_families
from command_line import localmix
from small_models import STORIES

import localmix as library
from localmix.errors import LocalmixError, UnsupportedError
from localmix.stream.fit import PROGRAM, WORKING


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_families.make(tmp_path_factory.mktemp("ram") / "qwen3moe.gguf", "qwen3moe")


@pytest.fixture(scope="module")
def less(path: Path) -> int:
    """Bytes in which a half of the experts have room, beside what the program itself takes."""
    model = library.load(path, "numba")
    assert model.place.pool is None
    spare = PROGRAM - WORKING + model.network.token_embd.nbytes
    return model.place.needs - spare - sum(t.nbytes for n, t in model.file.tensors.items() if "_exps" in n) // 2


def test_the_library_streams_what_does_not_fit(path: Path, less: int) -> None:
    resident, streamed = library.load(path, "numba"), library.load(path, "numba", ram=less)
    assert streamed.place.needs == resident.place.needs > less
    assert streamed.place.pool is not None
    assert 27 <= streamed.place.pool.slots <= 36  # of 54: a half, and what keys and values do not take yet
    ids = list(range(3, 60))
    assert (streamed.logits(ids) == resident.logits(ids)).all()
    assert library.load(path, "numba", ram=resident.place.needs).place.pool is None
    found = [one.generate(ids, max_tokens=9, temp=0).read() for one in (resident, streamed)]
    assert found[0] == found[1]
    assert streamed.engine.decoding.tokens == 8
    assert streamed.engine.decoding.wanted == 8 * 3 * 3


def test_what_cannot_be_is_refused(path: Path, less: int, backend: str) -> None:
    if backend != "reference":
        with pytest.raises(LocalmixError, match=r"gguf: it needs .*, 10 MB may be used .*: expected [\d.]+ MB at"):
            library.load(path, backend, ram=10**7)
        with pytest.raises(LocalmixError, match="no experts to stream: choose a smaller format or model"):
            library.load(STORIES, backend, ram=10**7)
    else:
        with pytest.raises(UnsupportedError, match=f"{backend} backend does not stream experts: use --backend numba"):
            library.load(path, backend, ram=less)


def test_the_command_says_so(path: Path, less: int) -> None:
    run = ("run", "-m", path, "--raw", "5", "-n", 4, "--temp", 0, "--backend", "numba")
    whole, streamed = localmix(*run), localmix(*run, "--ram", less)
    assert streamed.returncode == 0, streamed.stderr
    assert streamed.stdout == whole.stdout
    assert ", resident, prompt 2 tokens at" in whole.stderr
    decided, told = streamed.stderr.splitlines()[-2:]
    assert decided.startswith("localmix: experts are streamed from the disk: of 1.55 MB in 18 experts ")
    assert ", streamed: " in told
    assert " hits, " in told
    assert " a token, disk " in told
    assert " of what it can, resident with " in told
    quiet = localmix(*run, "--ram", less, "-q")
    assert (quiet.stdout, quiet.stderr) == (whole.stdout, "")
    bad = localmix(*run, "--ram", "much")
    assert (bad.returncode, bad.stderr) == (1, "localmix: --ram much: expected a size such as 24G or 15.5GiB\n")


def test_doctor_forecasts_it(path: Path, less: int, backend: str) -> None:
    done = localmix("doctor", path, "--quick", "--backend", backend, "--ram", less)
    if backend == "reference":
        assert "fits\tno\n" in done.stdout
        return
    rows = dict(line.split("\t") for line in done.stdout.splitlines())
    assert rows["fits"] == "streamed", done.stderr
    assert rows["how"].startswith("experts are streamed from the disk: ")
    assert rows["command"].startswith("localmix chat ")
    assert rows["command"].endswith(f" --backend {backend} --ram {less}")
