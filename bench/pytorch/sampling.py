#!/usr/bin/env python3
"""Samples tokens by the reference's own transformer of size B in PyTorch on the CPU, with random weights, for one image with guidance.

    python sampling.py --reference CHECKOUT [--threads 2]

CHECKOUT is a copy of SEED-Voken. For each line with a number of tokens it samples as many, and prints a line of JSON: seconds by wall
clock and by processor. Needs torch, numpy, einops and tqdm.
"""
import argparse
import json
import os
import resource
import sys
import time
import types

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--reference", required=True)
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()

import torch  # noqa: E402

# The reference takes a base class from lightning, which sampling does not need.
lightning = types.ModuleType("lightning")
lightning.LightningModule = torch.nn.Module
sys.modules.setdefault("lightning", lightning)
sys.modules.setdefault("pytorch_lightning", lightning)
sys.path.insert(0, os.path.abspath(options.reference))
from src.IBQ.modules.transformer.llama import GPT, sample_IBQ  # noqa: E402

torch.set_num_threads(options.threads)
torch.manual_seed(0)
model = GPT(
    vocab_size=16384, block_size=256, n_layer=16, n_head=16, n_embd=1024, cond_dim=1024, class_num=1000
).eval()
torch.nn.init.normal_(model.head.weight, std=0.02)
# The class, and the one that stands for none.
classes = torch.tensor([[7], [1000]])


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# The answers alone go to standard output, whatever the reference prints.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    processor, start = processor_seconds(), time.perf_counter()
    sample_IBQ(classes, model, steps=int(line), temperature=1.0, top_k=0, top_p=1.0, cfg_scale=2.0)
    report = {"wall": time.perf_counter() - start, "processor": processor_seconds() - processor}
    print(json.dumps(report), file=answers, flush=True)
