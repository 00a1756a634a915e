"""The committed network as ONNX, its weights those of the TorchScript file itself.

A TorchScript file is a zip that keeps every tensor uncompressed and aligned, and an ONNX file may leave its
weights in another file, at an offset. So fastunet.onnx holds the graph alone and points into fastunet.pt: the
weights are in the repository once, and an archive that holds both files serves either. Batch normalisation is left
as it is, because folding it would make new weights.
"""

import argparse
import io
import mmap
import warnings
import zipfile
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnx import external_data_helper

HERE = Path(__file__).parent
OPSET = 17
FREE = {0: "batch", 2: "height", 3: "width"}
SHAPES = [(1, 3, 96, 128), (2, 3, 96, 128), (1, 3, 97, 131), (3, 3, 100, 100), (5, 3, 64, 32), (32, 3, 96, 128)]
TOLERANCE = 1e-4
"""Of the scores, relative to the largest. Both order their sums differently."""


def graph(network: torch.jit.ScriptModule) -> onnx.ModelProto:
    """The network as it stands: nothing folded, every parameter under its own name."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is a newer exporter, which does not take TorchScript
        torch.onnx.export(
            network, (torch.zeros(2, 3, 96, 128),), written, dynamo=False, opset_version=OPSET,
            do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE,
            input_names=["image"], output_names=["scores"], dynamic_axes={"image": FREE, "scores": FREE},
        )
    return onnx.load_from_string(written.getvalue())


def places(file: Path) -> dict[bytes, int]:
    """Where in a TorchScript file the bytes of each tensor lie."""
    found = {}
    with zipfile.ZipFile(file) as tensors, file.open("rb") as opened:
        whole = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        for entry in tensors.infolist():
            if "/data/" not in entry.filename:
                continue
            if entry.compress_type != zipfile.ZIP_STORED:
                raise SystemExit(f"{entry.filename} of {file.name} is compressed, so that nothing can point into it")
            name, extra = (int.from_bytes(whole[entry.header_offset + k:][:2], "little") for k in (26, 28))
            found[tensors.read(entry)] = entry.header_offset + 30 + name + extra
    return found


def point(model: onnx.ModelProto, file: Path) -> None:
    """Every weight of the model becomes a place in the file, which has to hold it."""
    offsets = places(file)
    for weight in model.graph.initializer:
        offset = offsets.get(weight.raw_data)
        if offset is None:
            raise SystemExit(f"{file.name} does not hold the weight {weight.name} as it is")
        external_data_helper.set_external_data(weight, file.name, offset, len(weight.raw_data))
        weight.ClearField("raw_data")


def check(network: torch.jit.ScriptModule, file: Path) -> None:
    """Both give the same, at all sizes and batches."""
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in SHAPES:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            want = network(x)
        got = torch.from_numpy(session.run(None, {"image": x.numpy()})[0])
        apart = ((want - got).abs().max() / want.abs().max()).item()
        same = (want.argmax(1) == got.argmax(1)).double().mean().item()
        print(f"{shape}: {apart:.1e} apart, {same:.3%} of pixels of the same class")
        if apart > TOLERANCE or same < 0.999:
            raise SystemExit(f"{file.name} does not give what the TorchScript file gives")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=HERE / "fastunet.pt")
    parser.add_argument("--out", type=Path, help="beside the model, as its weights have to be; .onnx unless given")
    args = parser.parse_args()

    out = args.out or args.model.with_suffix(".onnx")
    if out.resolve().parent != args.model.resolve().parent:
        raise SystemExit(f"{out} has to lie beside {args.model}, where its weights are")
    network = torch.jit.load(args.model, map_location="cpu").eval()
    model = graph(network)
    point(model, args.model)
    out.write_bytes(model.SerializeToString())
    check(network, out)
    print(f"{out}: {out.stat().st_size:,} bytes, its weights in {args.model.name}")


if __name__ == "__main__":
    main()
