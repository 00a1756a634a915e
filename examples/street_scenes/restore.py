"""The FastAI learner again, from the committed network: what training leaves in models/export.pkl.

Training takes twenty minutes, and its pickle is not committed. This builds the same learner on a few made scenes,
puts the parameters of fastunet.pt back into it, and checks that it gives what the file gives.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from fastai.vision.all import CrossEntropyLossFlat, Learner, set_seed, unet_learner
from fastai.vision.models.unet import DynamicUnet, UnetBlock

import scenes
from network import INPUT, MODELS, loaders, narrow_resnet

HERE = Path(__file__).parent


def untrained(data: Path) -> Learner:
    """The learner of train.py before its first step."""
    for number, part in enumerate(("train", "valid")):
        scenes.write_set(data / part, 2, number * 10, workers=1)
    set_seed(7, reproducible=True)
    return unet_learner(
        loaders(data, 2, workers=0), narrow_resnet, n_out=len(scenes.LABELS), pretrained=False, normalize=False,
        loss_func=CrossEntropyLossFlat(axis=1), wd=1e-2, path=HERE, model_dir=MODELS,
    )


def names(model: DynamicUnet) -> dict[str, str]:
    """For each part of FastAI's U-Net what it is called in the file."""
    blocks = [k for k, layer in enumerate(model.layers) if isinstance(layer, UnetBlock)]
    after = blocks[-1] + 1  # shuffle, resize, join, residual block, classifier, cast
    parts = {"layers.0": "encoder", "layers.1": "middle.0", "layers.3": "middle.2"}
    parts |= {f"layers.{k}": f"blocks.{number}" for number, k in enumerate(blocks)}
    return parts | {f"layers.{after}": "shuffle", f"layers.{after + 3}": "cross", f"layers.{after + 4}": "classify"}


def restore(learn: Learner, exported: torch.jit.ScriptModule) -> None:
    """Every parameter and every running mean from the file, none left over on either side."""
    given, parts = exported.state_dict(), names(learn.model)
    taken = {}
    for name in learn.model.state_dict():
        part = ".".join(name.split(".")[:2])
        taken[name] = given.pop(parts[part] + name[len(part):])
    assert not given, f"the file has more: {list(given)}"
    learn.model.load_state_dict(taken)


def check(learn: Learner, exported: torch.jit.ScriptModule) -> None:
    """The learner's network and the file must give the same, at two sizes."""
    for size in (INPUT, (97, 131)):
        x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            want, got = exported(x), learn.model.eval()(x).as_subclass(torch.Tensor)
        assert torch.equal(want, got), f"at {size} they differ by {(want - got).abs().max().item():.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE / "fastunet.pt")
    parser.add_argument("--out", type=Path, default=MODELS / "export.pkl")
    args = parser.parse_args()

    exported = torch.jit.load(args.model, map_location="cpu").eval()
    with tempfile.TemporaryDirectory() as data:
        learn = untrained(Path(data))
        restore(learn, exported)
        check(learn, exported)
        args.out.parent.mkdir(parents=True, exist_ok=True)
        learn.export(args.out.resolve())
    print(f"{args.out}: {sum(p.numel() for p in learn.model.parameters()):,} parameters, those of {args.model.name}")


if __name__ == "__main__":
    main()
