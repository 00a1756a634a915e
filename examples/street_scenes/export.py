"""From the FastAI learner to a TorchScript file that a server can open.

FastAI's U-Net passes its skip connections through forward hooks and returns a tensor subclass: neither
survives scripting. Here the same layers are called in the same order by a plain module, which is traced.

A trace keeps the branch it saw. A decoder block resizes its input only where its size differs from the
skip connection's, so a trace at a multiple of 32 would leave the resize out and fail at other sizes. At
97 x 131 every level differs, every resize is recorded, and at sizes where none is needed it changes nothing.

The result is not frozen: frozen weights become constants, which can no longer be moved to another device
or number format. Normalisation is not in the file either; model-config.yaml states it.
"""

import argparse
import io
from pathlib import Path

import torch
import torch.nn.functional as F
import yaml
from fastai.vision.all import AddMaskCodes, Learner, Normalize, load_learner
from fastai.vision.models.unet import DynamicUnet, UnetBlock
from torch import nn

import scenes
from network import INPUT, MODELS

HERE = Path(__file__).parent
TRACE_SIZE = (97, 131)
TOLERANCE = 1e-4  # on logits, which span some tens


class PlainBlock(nn.Module):
    """FastAI's UnetBlock with its skip connection as an argument."""

    def __init__(self, block: UnetBlock):
        super().__init__()
        self.shuf, self.bn, self.relu, self.conv1, self.conv2 = block.shuf, block.bn, block.relu, block.conv1, block.conv2

    def forward(self, up: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        up = self.shuf(up)
        if up.shape[-2:] != skip.shape[-2:]:
            up = F.interpolate(up, skip.shape[-2:], mode="nearest")
        return self.conv2(self.conv1(self.relu(torch.cat([up, self.bn(skip)], dim=1))))


class PlainUnet(nn.Module):
    """DynamicUnet without hooks. It takes over the layers of the model it is given and removes their hooks."""

    def __init__(self, model: DynamicUnet):
        super().__init__()
        model.sfs.remove()
        encoder, norm, relu, middle, *rest = model.layers
        self.encoder = nn.ModuleList(encoder)
        self.middle = nn.Sequential(norm, relu, middle)
        self.blocks = nn.ModuleList(PlainBlock(m) for m in rest if isinstance(m, UnetBlock))
        # what follows the blocks: shuffle, resize to input, join with input, residual block, classifier, cast
        self.shuffle, _, _, self.cross, self.classify, _ = rest[len(self.blocks):]
        self.skips = self._skips()
        if len(self.skips) != len(self.blocks):
            raise ValueError(f"{len(self.blocks)} decoder blocks for {len(self.skips)} skip connections")

    def _skips(self) -> list[int]:
        """The last encoder layer of each size, deepest first."""
        x, widths = torch.zeros(1, 3, 64, 64), []
        with torch.no_grad():
            for layer in self.encoder:
                x = layer(x)
                widths.append(x.shape[-1])
        return [k for k in reversed(range(len(widths) - 1)) if widths[k] != widths[k + 1]]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, taken = image, []
        for layer in self.encoder:
            x = layer(x)
            taken.append(x)
        x = self.middle(x)
        for block, k in zip(self.blocks, self.skips):
            x = block(x, taken[k])
        x = self.shuffle(x)
        if x.shape[-2:] != image.shape[-2:]:
            x = F.interpolate(x, image.shape[-2:], mode="nearest")
        return self.classify(self.cross(torch.cat([x, image], dim=1)))


def inputs(count: int):
    """The network's own size first, then sizes drawn at random, from below to well above it, each with its batch size."""
    draw = torch.Generator().manual_seed(11)
    sizes = [INPUT] + [tuple(torch.randint(40, 320, (2,), generator=draw).tolist()) for _ in range(count)]
    for number, size in enumerate(sizes):
        yield torch.randn(1 if number == 0 else 1 + number % 5, 3, *size, generator=draw)


def check(eager: nn.Module, exported: torch.jit.ScriptModule, count: int = 20) -> None:
    """Compare with FastAI's own model; raises unless the logits agree everywhere within TOLERANCE."""
    worst, same, pixels = 0.0, 0, 0
    for x in inputs(count):
        with torch.no_grad():
            want, got = eager(x).as_subclass(torch.Tensor), exported(x)
        if type(got) is not torch.Tensor or got.shape != want.shape:
            found = f"{type(got).__name__} {list(got.shape)}"
            raise SystemExit(f"refused: at {list(x.shape)} the export gives {found}, FastAI {list(want.shape)}")
        difference = (want - got).abs().max().item()
        if not difference <= TOLERANCE:
            raise SystemExit(f"refused: at {list(x.shape)} logits differ by {difference:.2e}, more than {TOLERANCE:.0e}")
        worst = max(worst, difference)
        same += (want.argmax(1) == got.argmax(1)).sum().item()
        pixels += want.argmax(1).numel()
    print(f"{count + 1} sizes: largest difference of logits {worst:.2e}, same class in {same} of {pixels} pixels")


def file_bytes(module: torch.jit.ScriptModule) -> bytes:
    """The TorchScript file, without the debug records: those hold the paths of the machine that exported."""
    whole, bare = io.BytesIO(), io.BytesIO()
    torch.jit.save(module, whole)
    whole.seek(0)
    reader = torch._C.PyTorchFileReader(whole)
    writer = torch._C.PyTorchFileWriter(bare)
    own = ("version", "byteorder", ".data/")  # the writer adds these itself
    for name in reader.get_all_records():
        if not name.endswith(".debug_pkl") and not name.startswith(own):
            record = reader.get_record(name)
            writer.write_record(name, record, len(record))
    writer.write_end_of_file()
    return bare.getvalue()


def config(learn: Learner) -> str:
    """What the server has to know, read from the learner's own transforms where they hold it."""
    codes = next(t.codes for t in learn.dls.after_item.fs if isinstance(t, AddMaskCodes))
    normalize = next(t for t in learn.dls.after_batch.fs if isinstance(t, Normalize))
    # six digits: the float32 in the transform prints 0.485 as 0.48500001
    mean, std = ([round(v, 6) for v in t.flatten().tolist()] for t in (normalize.mean, normalize.std))
    handler = {
        "size": list(INPUT), "resize": "squish", "filter": "bilinear", "mean": mean, "std": std,
        "labels": list(codes), "palette": [list(rgb) for rgb in scenes.PALETTE],
    }
    lines = ["# written by export.py; size is height, width; palette has one RGB triple per label", "handler:"]
    for key, value in handler.items():
        lines.append(f"  {key}: {yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0]}")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learner", type=Path, default=MODELS / "export.pkl")
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()

    learn = load_learner(args.learner, cpu=True)
    eager = learn.model.eval()
    plain = PlainUnet(load_learner(args.learner, cpu=True).model).eval().requires_grad_(False)
    left = [name for name, m in plain.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    if left:
        raise SystemExit(f"refused: hooks are left on {left}")
    traced = torch.jit.trace(plain, torch.randn(2, 3, *TRACE_SIZE), check_trace=False)
    content = file_bytes(traced)
    check(eager, torch.jit.load(io.BytesIO(content), map_location="cpu"))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "fastunet.pt").write_bytes(content)
    (args.out / "model-config.yaml").write_text(config(learn))
    print(f"{args.out / 'fastunet.pt'}: {len(content):,} bytes")


if __name__ == "__main__":
    main()
