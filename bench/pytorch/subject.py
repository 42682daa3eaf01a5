"""The reference's own code on PyTorch's CPU backend as a subject of the bench: subject.py CHECKOUT, asked by bench/compare.ts.

Needs torch, numpy, einops and pyyaml. What the reference imports beside them (Lightning, torchvision, requests, tqdm) is stood in
for: none of it computes. The perceptual network is VGG16 at the widths and with the random weights of the engine's configuration.
"""

import importlib
import importlib.machinery
import json
import os
import resource
import struct
import sys
import time
import types

import numpy as np
import torch
from torch import nn

CHECKOUT = os.path.abspath(sys.argv[1])
THREADS = os.cpu_count()
GROUP_NORM_EPSILON = 1e-6
# Of the published tokenizer and transformer: configs/IBQ/gpu/imagenet_ibqgan_16384.yaml and imagenet_conditional_llama_B.yaml.
PUBLISHED_SIZES = dict(double_z=False, z_channels=256, resolution=256, in_channels=3, out_ch=3, ch=128,
                       ch_mult=[1, 1, 2, 2, 4], num_res_blocks=4, attn_resolutions=[16], dropout=0.0)
GPT_B = dict(vocab_size=16384, n_layer=16, n_head=16, n_embd=1024, cond_dim=1024, resid_dropout_p=0.1,
             ffn_dropout_p=0.1, token_drop=0.1, drop_path_rate=0.0, alng=1e-3, class_num=1000)


def stand_in():
    """Makes the reference importable without what it does not need here."""
    def module(name, **values):
        made = types.ModuleType(name)
        # PyTorch looks for some of them and asks where they came from.
        made.__spec__ = importlib.machinery.ModuleSpec(name, None)
        made.__dict__.update(values)
        sys.modules[name] = made
        return made

    def instantiate(config):
        name, kind = config["target"].rsplit(".", 1)
        return getattr(importlib.import_module(name), kind)(**config.get("params", {}))

    module("lightning", LightningModule=nn.Module)
    module("pytorch_lightning", LightningModule=nn.Module)
    module("main", instantiate_from_config=instantiate)
    module("requests")
    module("tqdm", tqdm=None)
    module("torchvision", models=module("torchvision.models"))
    os.chdir(CHECKOUT)
    sys.path.insert(0, CHECKOUT)


def random_numbers(shape, seed):
    """The numbers of bench/numbers.ts: uniform in [-0.5, 0.5)."""
    state, numbers = seed, np.empty(int(np.prod(shape)), np.float32)
    for i in range(numbers.size):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        numbers[i] = np.float32(state / 2**32 - 0.5)
    return torch.from_numpy(numbers.reshape(shape))


def channels_first(x):
    return x.permute(0, 3, 1, 2).contiguous()


def channels_last(x):
    return x.permute(0, 2, 3, 1).contiguous()


def read_safetensors(path):
    """Tensors and metadata of a file."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    values = np.memmap(path, np.float32, "r", offset=8 + length) if (8 + length) % 4 == 0 else None
    if values is None:
        raise ValueError(f"{path}: expected values at a multiple of 4 bytes, found {8 + length}")
    metadata = header.pop("__metadata__", {})
    tensors = {}
    for name, entry in header.items():
        begin, end = (offset // 4 for offset in entry["data_offsets"])
        tensors[name] = torch.from_numpy(np.array(values[begin:end]).reshape(entry["shape"]))
    return tensors, metadata


def load(module, tensors):
    """Every parameter of the module has to be there; counters and tables of its own need not."""
    missing, _ = module.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if name in dict(module.named_parameters())]
    if missing:
        raise KeyError(f"expected all weights, found none of {missing[:3]}")


def model_file(folder, model):
    return os.path.join(folder, "".join(c if c.isalnum() else "_" for c in model) + ".safetensors")


class Case:
    """What bench/protocol.ts calls an open case."""

    def __init__(self, run, result):
        self.run, self.result = run, result


def tokenizer(sizes, codes, dimensions, loss, **options):
    from src.IBQ.models.ibqgan import IBQ
    return IBQ(ddconfig=sizes, lossconfig=loss, n_embed=codes, embed_dim=dimensions, use_entropy_loss=True, **options)


def open_published(model, folder):
    ibq = tokenizer(PUBLISHED_SIZES, 16384, 256, {"target": "src.IBQ.modules.losses.vqperceptual.DummyLoss"},
                    learning_rate=1e-4, entropy_temperature=0.01, beta=0.25, use_ema=False).eval()
    tensors, _ = read_safetensors(model_file(folder, model))
    load(ibq, tensors)
    del tensors
    encoding = model == "encode 256"
    x = channels_first(random_numbers([1, 256, 256, 3], 1) if encoding else random_numbers([1, 16, 16, 256], 2))

    def run(repetitions):
        with torch.no_grad():
            for _ in range(repetitions):
                ibq.encode(x) if encoding else ibq.decode(x)

    def result():
        with torch.no_grad():
            return channels_last(ibq.quant_conv(ibq.encoder(x)) if encoding else ibq.decode(x))

    return Case(run, result)


def small_perceptual(widths):
    """LPIPS with a VGG16 of other widths, whose weights are loaded afterwards."""
    import src.IBQ.modules.losses.lpips as lpips

    def vgg16(pretrained):
        layers, inputs = [], 3
        for width, convolutions in zip(widths, [2, 2, 3, 3, 3]):
            for _ in range(convolutions):
                layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
                inputs = width
            layers.append(nn.MaxPool2d(2, 2))
        return types.SimpleNamespace(features=nn.Sequential(*layers))

    class SmallLpips(lpips.LPIPS):
        def __init__(self):
            nn.Module.__init__(self)
            self.scaling_layer, self.chns = lpips.ScalingLayer(), list(widths)
            self.net = lpips.vgg16(pretrained=True, requires_grad=False)
            for i, width in enumerate(widths):
                setattr(self, f"lin{i}", lpips.NetLinLayer(width, use_dropout=True))
            for parameter in self.parameters():
                parameter.requires_grad = False

    lpips.models.vgg16 = vgg16
    return SmallLpips


def open_step(folder, step):
    import src.IBQ.modules.diffusionmodules.model as networks
    import src.IBQ.modules.losses.vqperceptual as losses
    tensors, metadata = read_safetensors(model_file(folder, "tokenizer step"))
    config = json.loads(metadata["config"])
    sizes, loss = config["ddconfig"], config["lossconfig"]["params"]
    groups = sizes["numGroups"]
    published_normalize = networks.Normalize
    networks.Normalize = lambda channels: nn.GroupNorm(groups, channels, eps=GROUP_NORM_EPSILON, affine=True)
    losses.LPIPS = small_perceptual(loss["vggWidth"])
    ibq = tokenizer(
        dict(double_z=False, z_channels=sizes["zChannels"], resolution=sizes["resolution"],
             in_channels=sizes["inChannels"], out_ch=sizes["outCh"], ch=sizes["ch"], ch_mult=sizes["chMult"],
             num_res_blocks=sizes["numResBlocks"], attn_resolutions=sizes["attnResolutions"], dropout=sizes["dropout"]),
        config["nEmbed"], config["embedDim"],
        {"target": "src.IBQ.modules.losses.vqperceptual.VQLPIPSWithDiscriminator", "params": dict(
            disc_start=0, disc_num_layers=loss["discNumLayers"], disc_ndf=loss["discNdf"],
            gen_loss_weight=loss["genLossWeight"], lecam_loss_weight=loss["lecamLossWeight"],
            quant_loss_weight=loss["quantLossWeight"], entropy_loss_weight=loss["entropyLossWeight"],
            perceptual_weight=loss["perceptualWeight"])},
        learning_rate=step["learningRate"], entropy_temperature=config["entropyTemperature"], beta=config["beta"],
        use_ema=True)
    # The cases after this one have the published number of groups.
    networks.Normalize = published_normalize
    load(ibq, tensors)
    ibq.model_ema.decay.fill_(config["emaDecay"])
    ibq.train()
    # In the trainer its dropout would be active, and the losses random.
    ibq.loss.perceptual_loss.eval()
    parts = (ibq.encoder, ibq.decoder, ibq.quantize, ibq.quant_conv, ibq.post_quant_conv)
    rate = dict(lr=step["learningRate"], betas=tuple(step["betas"]))
    generator = torch.optim.Adam([p for part in parts for p in part.parameters()], **rate)
    discriminator = torch.optim.Adam(ibq.loss.discriminator.parameters(), **rate)
    size = sizes["resolution"]
    x = channels_first(2 * random_numbers([16, size, size, 3], step["seed"]))
    first = []

    def once():
        """The body of the reference's training_step and on_train_batch_end."""
        reconstruction, codebook = ibq(x)
        judged, log = ibq.loss(codebook, x, reconstruction, 1, 1, last_layer=ibq.get_last_layer(), split="train")
        discriminator.zero_grad()
        judged.backward()
        discriminator.step()
        total, more = ibq.loss(codebook, x, reconstruction, 0, 1, last_layer=ibq.get_last_layer(), split="train")
        generator.zero_grad()
        total.backward()
        generator.step()
        ibq.model_ema(ibq)
        if len(first) < step["compared"]:
            log = {name.split("/")[1]: float(value) for name, value in {**log, **more}.items()}
            first.append([log[name] for name in step["losses"]])

    def run(repetitions):
        for _ in range(repetitions):
            once()

    def result():
        run(step["compared"] - len(first))
        return torch.tensor(first)

    return Case(run, result)


def open_sampling(folder, sampling):
    from src.IBQ.modules.transformer.llama import GPT, sample_IBQ
    gpt = GPT(block_size=sampling["tokens"], **GPT_B).eval()
    tensors, _ = read_safetensors(model_file(folder, "sample GPT-B"))
    load(gpt, tensors)
    del tensors
    classes = torch.tensor([[sampling["label"]], [GPT_B["class_num"]]])

    def run(repetitions):
        with torch.no_grad():
            for _ in range(repetitions):
                sample_IBQ(classes, gpt, steps=sampling["tokens"], temperature=1.0, top_k=0, top_p=1.0,
                           cfg_scale=sampling["guidance"])

    def result():
        with torch.no_grad():
            gpt.setup_caches(max_batch_size=2, max_seq_length=1 + sampling["tokens"], dtype=torch.float32)
            logits, _ = gpt.decode_tokens(classes, input_pos=torch.arange(0, 1), first_step=True)
            return logits[:, -1, :]

    return Case(run, result)


def open_case(case, folder, constants):
    model = case["operation"].get("model")
    if model == "tokenizer step":
        return open_step(folder, constants["step"])
    if model in ("encode 256", "decode 256"):
        return open_published(model, folder)
    if model == "sample GPT-B":
        return open_sampling(folder, constants["sampling"])
    raise NotImplementedError(f"not written: {case['name']}")


def clock(repetitions, body):
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    body(repetitions)
    after = resource.getrusage(resource.RUSAGE_SELF)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seconds = time.perf_counter() - begin
    return {"ms": 1e3 * seconds / repetitions, "processorMs": 1e3 * processor / repetitions}


def handle(request, opened):
    """Answers a request of bench/protocol.ts."""
    if request["do"] == "open":
        opened.clear()
        opened["case"] = case = open_case(request["case"], request["folder"], request["constants"])
        return {"ok": True, "timing": clock(1, lambda _: opened.update(result=case.result()))}
    if request["do"] == "result":
        opened.pop("result").detach().numpy().astype(np.float32).tofile(request["file"])
        return {"ok": True}
    if request["do"] == "run":
        return {"ok": True, "timing": clock(request["repetitions"], opened["case"].run)}
    opened.clear()
    return {"ok": True}


def main():
    # The reference prints; the answers go where standard output was.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    torch.set_num_threads(THREADS)
    stand_in()

    def say(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    say({"name": "PyTorch CPU", "version": torch.__version__, "adapter": f"{THREADS} processors"})
    opened = {}
    for line in sys.stdin:
        try:
            say(handle(json.loads(line), opened))
        except Exception as error:  # noqa: BLE001  (whatever it is, the bench reports it)
            say({"ok": False, "reason": f"{type(error).__name__}: {error}"[:300]})


if __name__ == "__main__":
    main()
