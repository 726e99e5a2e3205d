"""Chunks cover a table once, stay within a budget, and are halved where memory runs out."""

import pytest
import torch
from torch import nn

from ardtool.autoencoder import ModulePair
from ardtool.errors import ArdtoolError
from ardtool.latent import chunks
from ardtool.latent.chunks import ChunkCost, decode_footprint, in_chunks, is_out_of_memory


def model_of(decoder, latent_dim: int = 8) -> ModulePair:
    return ModulePair(nn.Identity(), decoder, (1,), latent_dim)


@pytest.mark.parametrize("rows", [1, 7, 100])
@pytest.mark.parametrize("columns", [1, 16, 1000])
@pytest.mark.parametrize("memory", [0, 100, 5000, 10**9])
def test_every_pair_is_in_one_chunk(rows, columns, memory):
    seen = torch.zeros(rows, columns)
    for part, some, found in in_chunks(rows, columns, ChunkCost(10, 50), memory, lambda part, some: torch.ones(rows, columns)[part, some]):
        seen[part, some] += found
    assert (seen == 1).all()


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("columns", [1, 16, 1000])
def test_a_chunk_stays_within_the_budget_and_uses_at_least_a_third_of_it(columns, device):
    cost = ChunkCost(4 * 2**20, 2**20, device)
    for memory in (5 * 2**20, 50 * 2**20, 700 * 2**20):
        height, width = cost.chunk(10_000, columns, memory)
        taken = height * (cost.row + width * cost.pair)
        assert memory / 3 <= taken <= memory or (height, width) == (1, 1)


def test_pieces_are_of_nearly_equal_length():
    assert ChunkCost(1, device="meta").chunk(1, 128, 120) == (1, 64)
    assert ChunkCost(1, device="meta").chunk(100, 10, 990) == (50, 10)


def test_a_cpu_takes_chunks_of_moderate_size():
    large = ChunkCost(10**6)
    assert large.chunk(1000, 16, 2**40)[0] * 16 <= chunks.CPU_PAIRS
    assert ChunkCost(10**6, device="meta").chunk(1000, 16, 2**40) == (1000, 16)
    assert ChunkCost(10).chunk(1000, 16, 2**40) == (1000, 16)  # small pairs: all at once


class Scarce:
    """Work that runs out of memory above a number of pairs."""

    def __init__(self, most: int, error: Exception) -> None:
        self.most, self.error, self.sizes = most, error, []

    def __call__(self, part: slice, some: slice) -> torch.Tensor:
        size = (part.stop - part.start) * (some.stop - some.start)
        self.sizes.append(size)
        if size > self.most:
            raise self.error
        return torch.ones(part.stop - part.start, some.stop - some.start)


SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate memory: you tried to allocate 80 bytes."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 80 bytes."),
    MemoryError(),
]


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("most", [1, 5, 30])
def test_where_memory_runs_out_chunks_are_halved_until_they_fit(error, most):
    work, seen = Scarce(most, error), torch.zeros(13, 11)
    for part, some, found in in_chunks(13, 11, ChunkCost(1), 10**9, work):
        seen[part, some] += found
    assert (seen == 1).all()
    fitting = [size for size in work.sizes if size <= most]
    assert work.sizes[0] == 143 and max(fitting) > most / 4
    assert len(work.sizes) - len(fitting) <= 8  # halved, and what has failed once is not tried again


def test_where_a_single_pair_does_not_fit_the_error_says_so():
    with pytest.raises(ArdtoolError, match=r"Memory ran out on one sample at a time: CUDA out of memory\. Tried") as caught:
        list(in_chunks(4, 4, ChunkCost(1), 10**9, Scarce(0, SHORTAGES[0])))
    assert all(words in caught.value.hint for words in ("--estimator sketch", "smaller images", "smaller network"))


def test_other_errors_are_not_about_memory():
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) and not is_out_of_memory(ValueError("x"))
    with pytest.raises(RuntimeError, match="shapes"):
        list(in_chunks(4, 4, ChunkCost(1), 10**9, Scarce(0, RuntimeError("shapes"))))


def test_a_chunk_done_again_draws_the_same_numbers():
    def draws(most: int) -> torch.Tensor:
        source, check = torch.Generator().manual_seed(0), Scarce(most, MemoryError())

        def work(part: slice, some: slice) -> torch.Tensor:
            drawn = torch.randint(0, 100, (part.stop - part.start, some.stop - some.start), generator=source)
            check(part, some)
            return drawn

        out = torch.zeros(9, 4, dtype=torch.long)
        for part, some, found in in_chunks(9, 4, ChunkCost(1), 10**9, work, generator=source):
            out[part, some] = found
        return out

    assert torch.equal(draws(1), draws(10**9)) and torch.equal(draws(8), draws(10**9))


def test_the_footprint_counts_what_grows_with_the_batch():
    decoder = nn.Sequential(nn.Linear(8, 500), nn.Tanh(), nn.Linear(500, 10))
    footprint = decode_footprint(model_of(decoder), torch.zeros(1, 8), None)
    assert (footprint.row, footprint.outputs) == (4 * (500 + 500 + 10), 10)
    assert footprint.fixed == 4 * (8 * 500 + 500 * 10)  # transposed weights
    assert footprint.room(100_000) == 100_000 - footprint.fixed and footprint.room(1000) == 250


@pytest.mark.parametrize(
    ("decode", "sentence"),
    [
        (
            lambda z: z @ torch.ones(3, 3),
            r"cannot decode codes of 8 axes: .*cannot be multiplied.* Hint: `decode` must take codes of",
        ),
        (lambda z: (z, z), r"The decoder gave a tuple; expected a tensor\."),
        (lambda z: z.int(), r"The decoder gave int32 of shape \(1, 8\) for codes of shape \(1, 8\)\."),
        (lambda z: z.sum(), r"The decoder gave float32 of shape \(\) for codes of shape \(1, 8\)\."),
    ],
)
def test_a_decoder_that_cannot_decode_is_refused_in_one_line(decode, sentence):
    with pytest.raises(ArdtoolError, match=sentence) as caught:
        decode_footprint(model_of(decode), torch.randn(2, 8), None)
    assert "\n" not in str(caught.value)
