"""Writes resnet18.onnx: the graph of torchvision's ResNet-18, without its weights.

    python export_resnet.py           # writes into the folder of this script

Its weights are those that resnet_weights.py makes. The graph is proved on them: ONNX Runtime gives what torchvision's
network gives with the same.
"""

import io
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision
from onnx import external_data_helper

import resnet_weights

OPSET = 17


def network(folder: Path) -> torch.nn.Module:
    """torchvision's, with the weights of the file in a folder."""
    made = torchvision.models.resnet18(weights=None).eval()
    numbers = torch.from_numpy(np.fromfile(folder / resnet_weights.FILE, np.float32))
    state, start = {}, 0
    for name, shape in resnet_weights.layout():
        size = torch.Size(shape).numel()
        state[name] = numbers[start : start + size].reshape(shape).clone()
        start += size
    assert start == len(numbers)
    missing = set(made.state_dict()) - set(state)
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    made.load_state_dict(state, strict=False)
    return made


def graph(made: torch.nn.Module) -> onnx.ModelProto:
    """Its graph, each weight a place in the file."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            made, (torch.zeros(2, 3, 224, 224),), written, dynamo=False, opset_version=OPSET, do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE, input_names=["data"], output_names=["scores"],
            dynamic_axes={"data": {0: "batch"}, "scores": {0: "batch"}},
        )
    model = onnx.load_from_string(written.getvalue())
    places, start = {}, 0
    for name, shape in resnet_weights.layout():
        size = 4 * torch.Size(shape).numel()
        places[name] = (start, size)
        start += size
    for weight in model.graph.initializer:
        external_data_helper.set_external_data(weight, resnet_weights.FILE, *places.pop(weight.name))
        weight.ClearField("raw_data")
    assert not places, list(places)
    return model


def main() -> None:
    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        resnet_weights.GRAPH.touch()
        resnet_weights.write(folder)
        made = network(folder)
        resnet_weights.GRAPH.write_bytes(graph(made).SerializeToString())
        file = resnet_weights.write(folder)
        onnx.checker.check_model(file, full_check=True)
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        x = torch.randn(5, 3, 224, 224, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            want = made(x)
        got = torch.from_numpy(session.run(None, {"data": x.numpy()})[0])
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        print(f"{resnet_weights.GRAPH.name}: {resnet_weights.GRAPH.stat().st_size:,} bytes, "
              f"scores {want.min():.2f} to {want.max():.2f}, largest difference {(got - want).abs().max():.1e}")


if __name__ == "__main__":
    main()
