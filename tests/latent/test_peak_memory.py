"""What a process really takes while a decoder is measured, in a process of its own: below the budget, and above it where there is none."""

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]

BUDGET = 96 * 2**20
MEASURE = """
import re, sys, torch
from pathlib import Path
from torch import nn
from ardtool.autoencoder import ModulePair, Posterior
from ardtool.latent.jacobian import column_norms
from ardtool.latent.principal import principal_directions
from ardtool.latent.sketch import sketched_norms
from ardtool.latent.sobol import total_effects
torch.manual_seed(0), torch.set_num_threads(1)
seed, deviations = torch.Generator().manual_seed(0), torch.randn(40, 512)

def decoder(axes, width, side):
    layers = [nn.Linear(axes, width * side**2), nn.Unflatten(1, (width, side, side))]
    for inner, outer in ((width, width), (width, width // 2), (width // 2, 3)):
        layers += [nn.ConvTranspose2d(inner, outer, 4, 2, 1), nn.ReLU()]
    return ModulePair(nn.Identity(), nn.Sequential(*layers), (3, 8 * side, 8 * side), axes)

def directions(model, codes, memory, route):
    some = deviations[:, : codes.mean.shape[1]]
    principal_directions(model, codes, deviations=some, generator=seed, route=route, memory=memory)

WORK = {
    "paper": (2, lambda *at: column_norms(*at[:2], memory=at[2])),
    "authors-code": (2, lambda *at: column_norms(*at[:2], convention="authors-code", memory=at[2])),
    "sketch": (200, lambda *at: sketched_norms(*at[:2], generator=seed, memory=at[2])),
    "sobol": (2, lambda *at: total_effects(*at[:2], generator=seed, memory=at[2])),
    "exact": (10, lambda *at: directions(*at, "exact")),
    "krylov": (10, lambda *at: directions(*at, "krylov")),
}
kibibytes = lambda name: int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
rows, work = WORK[sys.argv[1]]
model = decoder(512, 64, 8)
work(decoder(4, 8, 2), Posterior(torch.randn(2, 4)), 2**20)
model.decode(torch.zeros(1, 512))
codes, before = Posterior(torch.randn(rows, 512)), kibibytes("VmRSS")
for memory in (int(sys.argv[2]), 2**40):
    work(model, codes, memory)
    print(1024 * (kibibytes("VmHWM") - before))
"""


@pytest.mark.parametrize("estimator", ["paper", "authors-code", "sketch", "sobol", "exact", "krylov"])
def test_a_process_grows_by_less_than_the_memory_it_may_take(estimator):
    """512 axes to 3×64×64: one Jacobian is 24 MiB, and all tangents of one code are counted as 634 MiB."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE, estimator, str(BUDGET)]
    within, without = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert 0 < within < BUDGET < without
