"""Products shared by threads: each part done once, the same result bit for bit, no thread left."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from numba import njit

from gradninja import models
from gradninja.native import NativeError, compile_training
from gradninja.native.kernels.gemm_calls import address_of_gemm, gemm
from gradninja.native.kernels.threads import Team


@njit
def product(at, m, n, k, alpha, A, ars, acs, B, brs, bcs, beta, C, crs, ccs):
    gemm(at, m, n, k, alpha, A, 0, ars, acs, B, 0, brs, bcs, beta, C, 0, crs, ccs)


def results(at: int, dtype: str, m: int, n: int, k: int, turned: bool, times: int = 1):
    rng = np.random.default_rng(m + n + k)
    A, B, C = (rng.standard_normal(size).astype(dtype) for size in (m * k, k * n, m * n))
    true = 0.5 * A.reshape(m, k).astype("f8") @ (
        B.reshape(n, k).T if turned else B.reshape(k, n)
    ) + C.reshape(m, n)
    b = (1, k) if turned else (n, 1)
    number = np.dtype(dtype).type
    for _ in range(times):
        out = C.copy()
        product(at, m, n, k, number(0.5), A, k, 1, B, *b, number(1), out, n, 1)
    return out.reshape(m, n), true


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [2, 3])
def test_a_shared_product_is_the_one_of_one_thread(dtype, threads) -> None:
    team = Team(dtype, threads)
    shapes = [(256, 300, 32), (700, 33, 70), (65, 1000, 129), (1, 2000, 600), (5, 6, 7)]
    with team.at_work():
        for m, n, k in shapes:
            for turned in (False, True):
                alone, true = results(address_of_gemm(dtype), dtype, m, n, k, turned)
                shared, _ = results(team.address, dtype, m, n, k, turned, times=20)
                assert (shared == alone).all()
                assert np.abs(shared - true).max() < 1e-5 * k
    assert threading.active_count() == 1


def test_helpers_take_parts() -> None:
    """With nobody else to take them, a helper works out all parts of a product."""
    team = Team("float32", 2)
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((2, 64, 64)).astype("f4")
    C = np.zeros((64, 64), "f4")
    job = team._block[40:]
    job[:3] = 64
    job[3:12] = [A.ctypes.data, 64, 1, B.ctypes.data, 64, 1, C.ctypes.data, 64, 1]
    job[12:14] = 32, 64
    job[14:16].view(np.float64)[:] = 1, 0
    with team.at_work():
        team._block[16] = 0
        team._block[8] = 1 << 32 | 2 << 16
        while team._block[16] < 2:
            pass
    np.testing.assert_allclose(C, A @ B, atol=1e-4)


def _kernel(threads: int, hidden: int = 320, say=None):
    sizes = {"vocab": 27, "context": 3, "embedding": 10, "hidden": hidden}
    model = models.load("mlp_batchnorm")
    generator = torch.Generator().manual_seed(1)
    parameters = {
        name: value.numpy()
        for name, value in model.call("parameters", {**sizes, "generator": generator}).items()
    }
    batch = {"Xb": np.zeros((96, 3), np.int64), "Yb": np.zeros(96, np.int64)}
    step = model.step(backward="backward_fused")
    values = {**sizes, **model.options, **batch, **parameters}
    names = tuple(sorted(parameters))
    return compile_training(step.source, values, names, say, threads=threads), parameters


def test_a_run_by_two_threads_is_the_one_by_one_bit_for_bit() -> None:
    rng = np.random.default_rng(2)
    stream = rng.integers(0, 27, 5000).astype(np.uint8)
    positions = rng.integers(0, 5000, (30, 96))
    found = []
    for threads in (1, 2):
        kernel, parameters = _kernel(threads)
        losses = np.empty(30, np.float32)
        kernel.run(parameters, stream, positions, np.full(30, 0.1), losses)
        found.append((losses, parameters))
    (losses, one), (again, two) = found
    assert kernel.team is not None and kernel.team.shared
    assert losses[-1] < losses[0]
    assert (losses == again).all()
    assert all((one[name] == two[name]).all() for name in one)


def test_a_run_that_fails_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # other tests' kernels may be alive
    kernel, parameters = _kernel(2)
    stream = np.full(100, 30, np.uint8)  # beyond the vocabulary
    positions = np.full((2, 96), 50)
    with pytest.raises(NativeError, match="outside of 0 to 26"):
        kernel.run(parameters, stream, positions, np.ones(2), np.empty(2, np.float32))
    assert set(threading.enumerate()) <= before


def test_where_nothing_is_worth_sharing_one_thread_goes_on_and_says_so() -> None:
    told: list[str] = []
    kernel, parameters = _kernel(2, 8, told.append)
    stream, positions = np.ones(100, np.uint8), np.full((2, 96), 50)
    kernel.run(parameters, stream, positions, np.ones(2), np.empty(2, np.float32))
    assert kernel.team is None
    assert "one thread" in told[-1]
    count = len(told)
    kernel.run(parameters, stream, positions, np.ones(2), np.empty(2, np.float32))
    assert len(told) == count
