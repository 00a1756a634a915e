"""Make the scenes and train a FastAI U-Net on them.

Leaves models/fastunet.pth (weights) and models/export.pkl (the learner); neither is for a server to open.
"""

import argparse
import time
from pathlib import Path

import torch
from fastai.callback.channelslast import ChannelsLast
from fastai.vision.all import Callback, CrossEntropyLossFlat, Learner, set_seed, to_float, unet_learner

import scenes
from evaluate import class_iou, confusion, print_table
from network import MODELS, loaders, narrow_resnet

HERE = Path(__file__).parent
TRAIN_SEED, VALID_SEED = 0, 1_000_000  # evaluation and sample begin at 2,000,000 and 3,000,000


class BFloat16(Callback):
    """Mixed precision on the processor; FastAI's own callback knows graphics cards only. Weights stay float32."""

    def before_batch(self) -> None:
        self.autocast = torch.autocast("cpu", torch.bfloat16)
        self.autocast.__enter__()

    def after_pred(self) -> None:
        self.autocast.__exit__(None, None, None)
        self.learn.pred = to_float(self.pred)


def make_data(data: Path, train: int, valid: int) -> None:
    for name, count, seed in (("train", train, TRAIN_SEED), ("valid", valid, VALID_SEED)):
        # codes.txt is there from the first scene on, so the last picture is what tells a whole set
        if not (data / name / "labels" / f"{count - 1:04d}.png").exists():
            scenes.write_set(data / name, count, seed)


def report(learn: Learner) -> None:
    logits, truth = learn.get_preds()
    counts = confusion(logits.argmax(1).numpy(), truth.numpy())
    print_table({"IoU": class_iou(counts)}, counts.sum(1) / counts.sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=HERE / "data")
    parser.add_argument("--train", type=int, default=2000, help="scenes to train on")
    parser.add_argument("--valid", type=int, default=100, help="scenes to watch the training with")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2, help="1 is the faster where other programs use the processor")
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision, for processors that have it")
    args = parser.parse_args()

    make_data(args.data, args.train, args.valid)
    torch.set_num_threads(args.threads)
    set_seed(7, reproducible=True)
    data = loaders(args.data, args.batch)
    assert (len(data.train_ds), len(data.valid_ds)) == (args.train, args.valid), f"{args.data} holds another set"
    learn = unet_learner(
        data, narrow_resnet, n_out=len(scenes.LABELS), pretrained=False, normalize=False,
        loss_func=CrossEntropyLossFlat(axis=1), wd=1e-2, path=HERE, model_dir=MODELS,
    )
    parameters = sum(p.numel() for p in learn.model.parameters())
    print(f"{parameters:,} parameters, {parameters * 4 / 1e6:.1f} MB", flush=True)
    start = time.monotonic()
    with learn.no_bar():
        # convolutions on a processor run faster with channels last; it is a layout, not other weights
        learn.fit_one_cycle(args.epochs, 3e-3, cbs=[ChannelsLast(), *([BFloat16()] if args.bfloat16 else [])])
        print(f"trained in {(time.monotonic() - start) / 60:.1f} minutes", flush=True)
        learn.model.to(memory_format=torch.contiguous_format)
        report(learn)
    learn.save("fastunet", with_opt=False)
    learn.export(MODELS / "export.pkl")


if __name__ == "__main__":
    main()
