"""Memory on a machine that is described, not there: limits, and models that do not fit refused before loading."""

from contextlib import nullcontext

import pytest

from localmix import gguf
from localmix import network as networks
from localmix.engine.weights import Weight
from localmix.errors import LocalmixError
from localmix.store.bundled import model_path
from quant import FORMATS

mx = pytest.importorskip("mlx.core", reason="the mlx backend is not installed")
from modelled import KERNELS  # noqa: E402

from localmix.backends.mlx import load, memory  # noqa: E402
from localmix.backends.mlx.backend import MlxBackend  # noqa: E402
from localmix.backends.mlx.matrix import Arithmetic  # noqa: E402
from localmix.backends.mlx.memory import Budget, Device  # noqa: E402

GB = 10**9
M2 = {"device_name": "Apple M2", "max_recommended_working_set_size": 22 * GB, "memory_size": 32 * GB}
AFFINE, STRAIGHT = Arithmetic(half=True, cpu=False), Arithmetic(half=True, cpu=False, kernels=KERNELS)
POSITION = 32 * 2 * 8 * 128 * 2  # bytes of one position of Mixtral 8x7B


def mixtral(format: str) -> list[Weight]:
    """A matrix with as many weights as Mixtral 8x7B has, and no data."""
    return [Weight("all", FORMATS[format], (1_140_000, 4096 * 10), None)]  # type: ignore[arg-type]


def test_devices() -> None:
    assert Device.of(M2) == Device("Apple M2", 22 * GB)
    assert Device.of({"device_name": "AMD EPYC"}) == Device("AMD EPYC", None)
    assert Device("a CPU", None).room is None
    assert Budget(10, used=lambda: 3).left == 7
    assert Budget(10, used=lambda: 30).left == 0


def test_limits_are_set_from_what_the_system_recommends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, int] = {}
    for kind in ("cache", "memory", "wired"):
        monkeypatch.setattr(mx, f"set_{kind}_limit", lambda size, kind=kind: asked.update({kind: size}))
    memory.prepare(Device("a CPU", None))
    assert list(asked) == ["cache"]
    memory.prepare(Device.of(M2))
    assert asked["memory"] == asked["wired"] == 22 * GB
    assert asked["cache"] < GB


@pytest.mark.parametrize(
    ("format", "arithmetic", "gigabytes", "refusal"),
    [
        ("q4_k", STRAIGHT, 30, None),  # 26.3 GB as in the file
        ("q4_k", AFFINE, 29, "needs 29.2 GB on the GPU and 67.1 MB for 512 tokens of context, 27.9 GB is left"),
        ("q4_k", STRAIGHT, 22, "quantized to q3_k it would fit"),
        ("q8_0", STRAIGHT, 45, "quantized to q6_k it would fit"),
        ("q4_0", STRAIGHT, 8, "no format would fit; or use --backend numba"),
    ],
)
def test_mixtral(format: str, arithmetic: Arithmetic, gigabytes: int, refusal: str | None) -> None:
    room = Device("Apple M2", gigabytes * GB).room
    with nullcontext() if refusal is None else pytest.raises(LocalmixError, match=refusal):
        memory.check(mixtral(format), lambda tokens: tokens * POSITION, arithmetic, room)


def test_nothing_is_loaded_of_a_model_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "repack", lambda *_: pytest.fail("a tensor was loaded"))
    network = networks.load(gguf.open(model_path()))
    small = Device("Apple A1", (1 << 30) + 1_000_000)
    with pytest.raises(LocalmixError, match="no format would fit"):
        MlxBackend(half=True, kernels={}, device=small).decoder(network)


def test_caches_have_what_the_model_leaves() -> None:
    network = networks.load(gguf.open(model_path()))
    weights = sum(AFFINE.form(w.format).bits / 8 * w.shape[0] * w.shape[1] for w in load.matrices(network))
    for _ in range(2):  # the second model finds the first there
        device = Device("Apple A1", (1 << 30) + mx.get_active_memory() + int(weights) + 2_000_000)
        backend = MlxBackend(half=True, kernels={}, device=device)
        step = backend.decoder(network)
        cache, other = (backend.cache(network, network.context, "f16") for _ in range(2))
        assert cache.position_bytes * 512 < 2_000_000 < cache.position_bytes * 1024
        cache.fill(cache.new(), 512)
        with pytest.raises(LocalmixError, match=r"512 more tokens .* is left on this GPU"):
            other.fill(other.new(), 512)
        del cache
        other.fill(other.new(), 512)
        del step


H200 = {"device_name": "NVIDIA H200", "architecture": "sm_90", "total_memory": 150 * GB, "free_memory": 100 * GB}


def test_an_nvidia_gpu_has_memory_of_its_own_that_others_use_too() -> None:
    assert Device.of(H200) == Device("NVIDIA H200", 100 * GB, own=True)
    assert Device.of(H200, held=30 * GB).working_set == 130 * GB
    assert Device.of(H200, held=60 * GB).working_set == 142.5 * GB
    assert Device.of(H200).text == "NVIDIA H200, 100 GB for models"
    assert not Device.of(M2).own
