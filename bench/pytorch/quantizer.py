#!/usr/bin/env python3
"""Seconds and peak memory of the reference's own quantizer with entropy loss, in PyTorch on the CPU, with random weights.

    python quantizer.py --reference CHECKOUT [--codes 262144] [--dimensions 256] [--tokens 256] [--scale 1] [--pass both]

CHECKOUT is a copy of SEED-Voken. A pass is `forward` (without gradients) or `both`; run each in a process of its own, as memory is that
of the process. Prints one line of JSON. Needs torch, numpy and einops.
"""
import argparse
import json
import os
import resource
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--reference", required=True)
parser.add_argument("--codes", type=int, default=262144)
parser.add_argument("--dimensions", type=int, default=256)
parser.add_argument("--tokens", type=int, default=256)
parser.add_argument("--scale", type=float, default=1.0, help="standard deviation of the tokens; that of the codes is 1")
parser.add_argument("--pass", dest="which", choices=["forward", "both"], default="both")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()

import torch  # noqa: E402

sys.path.insert(0, os.path.abspath(options.reference))
from src.IBQ.modules.vqvae.quantize import IndexPropagationQuantize  # noqa: E402

torch.set_num_threads(options.threads)
torch.manual_seed(options.seed)


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(body):
    processor, start = processor_seconds(), time.perf_counter()
    result = body()
    return result, {"wall": time.perf_counter() - start, "processor": processor_seconds() - processor}


quantizer = IndexPropagationQuantize(
    options.codes, options.dimensions, 0.25, use_entropy_loss=True, entropy_temperature=0.01
)
z = (torch.randn(1, options.dimensions, options.tokens, 1) * options.scale).requires_grad_()


def forward():
    _, (quant_loss, _, _, entropy_loss), _ = quantizer(z)
    return quant_loss + entropy_loss


report = {}
if options.which == "forward":
    with torch.no_grad():
        loss, report["forward"] = measure(forward)
else:
    loss, report["forward"] = measure(forward)
    _, report["backward"] = measure(loss.backward)
report["loss"] = loss.item()
report["memoryMiB"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
report["torch"] = torch.__version__
print(json.dumps(report))
