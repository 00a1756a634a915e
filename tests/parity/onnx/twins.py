"""Writes twins/: the networks of the other folders here as ONNX, so that both forms of one network can be served.

    python twins.py           # writes into the folder of this script

A twin holds a graph alone and points into its TorchScript file for the weights, as the street scenes' does
(examples/street_scenes/onnx_twin.py); the two lie side by side in an archive. A detector is traced anew from
torchvision's class, because its scripted form has what ONNX has no word for, and gets its weights from the file.
"""

import importlib.util
import io
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

HERE = Path(__file__).parent
PARITY = HERE.parent
sys.path.insert(0, str(PARITY.parent.parent / "examples/street_scenes"))

from onnx_twin import point  # noqa: E402 - the folder is known only now



def script(folder: str) -> ModuleType:
    """The script that made the networks of another folder, as a module."""
    spec = importlib.util.spec_from_file_location(folder, PARITY / folder / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


handlers, detectors = script("handlers"), script("detector")
OPSET = 17
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
DETECTORS = ["faster_rcnn", "ssd"]
"""One that looks twice, one that looks once. torchvision's others export alike; each graph has 100 to 200 kB."""


class Out(nn.Module):
    """What torchvision's segmenters give, as a tuple: ONNX has no dictionary of tensors."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        found = self.network(x)
        return found["out"], found["aux"]


def pooled(x: Tensor, side: int) -> Tensor:
    """Adaptive pooling as two products, because ONNX has no word for pools of unlike sizes."""
    whole = int(x.shape[-1])
    share = np.zeros((side, whole), np.float32)
    for row in range(side):
        start, end = row * whole // side, -(-(row + 1) * whole // side)
        share[row, start:end] = 1 / (end - start)
    return torch.from_numpy(share) @ x @ torch.from_numpy(share.T.copy())


def exported(network: nn.Module, example: tuple, inputs: dict, outputs: dict, file: Path) -> None:
    """The graph of a network, which points into a TorchScript file. `inputs` and `outputs` name the free sides."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, example, written, dynamo=False, opset_version=OPSET, do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE, input_names=[*inputs], output_names=[*outputs],
            dynamic_axes={name: sides for name, sides in (inputs | outputs).items() if sides},
        )
    model = onnx.load_from_string(written.getvalue())
    point(model, file)
    (file.parent / f"{file.stem}.onnx").write_bytes(model.SerializeToString())


def proved(file: Path, cases: list[tuple[list[Tensor], list[Tensor]]]) -> None:
    """ONNX Runtime finds what PyTorch finds, and the twin goes where it belongs."""
    twin = file.with_suffix(".onnx")
    onnx.checker.check_model(twin, full_check=True)
    session = onnxruntime.InferenceSession(twin, providers=["CPUExecutionProvider"])
    for given, expected in cases:
        got = session.run(None, {port.name: x.numpy() for port, x in zip(session.get_inputs(), given)})
        assert len(got) == len(expected)
        for one, other in zip(got, expected):
            torch.testing.assert_close(torch.from_numpy(one), other, **CLOSE)
    (HERE / "twins" / twin.name).write_bytes(twin.read_bytes())
    print(f"{twin.name}: {twin.stat().st_size:,} bytes")


def eager(scripted: nn.Module) -> nn.Module:
    """A scripted network of TorchServe's handlers from its class again. A traced one needs none."""
    kind = getattr(handlers, scripted.original_name, None)
    if kind is None:
        return scripted
    state = scripted.state_dict()
    network = kind(len(state["embedding.weight"])) if kind is handlers.Topics else kind()
    network.load_state_dict(state)
    return (Out(network) if kind is handlers.Segmenter else network).eval()


def plain(file: Path, inputs: dict, outputs: dict, cases: list[tuple]) -> None:
    scripted = torch.jit.load(file).eval()
    network = eager(scripted)
    with torch.no_grad():
        found = [(Out(scripted) if isinstance(network, Out) else scripted)(*case) for case in cases]
        with mock.patch("torch.nn.functional.adaptive_avg_pool2d", pooled):
            exported(network, cases[0], inputs, outputs, file)
    proved(file, [(list(case), [one] if isinstance(one, Tensor) else list(one)) for case, one in zip(cases, found)])


def detector(file: Path) -> None:
    make, gain, seed = detectors.NETWORKS[file.stem]
    torch.manual_seed(seed)
    network = detectors.spread(make(), gain).eval()
    images = [detectors.torchvision.transforms.functional.to_tensor(detectors.Image.open(PARITY / "detector" / name))
              for name in ("a.png", "b.png", "c.png")]
    with torch.no_grad():
        found = [network([image])[0] for image in images]
        names = {name: {0: "found"} for name in found[0]}
        exported(network, ([images[0]],), {"image": {1: "height", 2: "width"}}, names, file)
    proved(file, [([image], list(one.values())) for image, one in zip(images, found)])


def main() -> None:
    draw = torch.Generator().manual_seed(11)

    def pictures(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw)

    batch, sides = {0: "batch"}, {0: "batch", 2: "height", 3: "width"}
    words = torch.tensor([3, 1, 4, 1, 5])
    networks = {
        "classifier.pt": ({"image": batch}, {"scores": batch}, [(pictures(2, 3, 224, 224),), (pictures(1, 3, 224, 224),)]),
        "segmenter.pt": ({"image": sides}, {"out": sides, "aux": sides}, [(pictures(2, 3, 224, 224),), (pictures(1, 3, 97, 61),)]),
        "topics.pt": ({"text": {0: "words"}, "offsets": batch}, {"scores": batch},
                      [(words, torch.tensor([0, 2])), (words[:1], torch.tensor([0]))]),
        "table.pt": ({"x": batch}, {"y": batch}, [(pictures(3, 4),), (pictures(1, 4),)]),
        "two_inputs.pt": ({"category": batch, "numbers": batch}, {"scores": batch, "largest": batch},
                          [(torch.tensor([3, 1]), pictures(2, 3)), (torch.tensor([4]), pictures(1, 3))]),
        "mask.pt": ({"image": sides}, {"scores": sides}, [(pictures(2, 3, 48, 64),), (pictures(1, 3, 45, 67),)]),
        "numbers.pt": ({"image": batch}, {"numbers": batch}, [(pictures(2, 3, 64, 64),), (pictures(1, 3, 64, 64),)]),
        "row.pt": ({"categories": batch, "numbers": batch}, {"scores": batch},
                   [(torch.ones(2, 4, dtype=torch.int64), pictures(2, 3)), (torch.zeros(1, 4, dtype=torch.int64), pictures(1, 3))]),
    }
    (HERE / "twins").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for archive in [*(PARITY / "handlers").glob("*.mar"), *(PARITY / "fastai/archives").glob("*.mar")]:
            with zipfile.ZipFile(archive) as packed:
                packed.extract(f"{archive.stem}.pt", folder)
        for file in [*(PARITY / "handlers").glob("t*.pt"), *(PARITY / "detector").glob("*.pt")]:
            (Path(folder) / file.name).write_bytes(file.read_bytes())
        for name, (inputs, outputs, cases) in networks.items():
            plain(Path(folder) / name, inputs, outputs, cases)
        for name in DETECTORS:
            detector(Path(folder) / f"{name}.pt")


if __name__ == "__main__":
    main()
