"""Writes the files of this folder: small torchvision detectors, and what they find in drawn images.

    python make.py            # writes into the folder of this script

Each network is one of torchvision's own classes with a backbone of a few channels and random weights, scripted as
users script theirs. `expected.json` holds what the eager network answers, and what TorchServe's `object_detector`
makes of that. `operations.pt` calls torchvision's operations on random boxes and holds their results beside them.
"""

import json
import zipfile
from collections import OrderedDict
from pathlib import Path

import PIL
import torch
import torchvision
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, KeypointRCNN, MaskRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.ops import MultiScaleRoIAlign
from ts.torch_handler.object_detector import ObjectDetector

HERE = Path(__file__).parent
CLASSES = 4
NAMES = {"0": "nothing", "1": "box", "2": ["n02", "disc"], "3": "stripe"}
# Each network, the images it sees in one call, and the scale of its random weights: such that some boxes are
# above TorchServe's threshold, some below, and no two scores so close that rounding could change their order.
CALLS = [["a.png"], ["b.png"], ["c.png"], ["a.png", "b.png"]]


class Backbone(nn.Module):
    """Planes at an eighth and a sixteenth of the image's size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels
        self.first = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(8, channels, 3, stride=2, padding=1),
        )
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first = self.first(x)
        return OrderedDict([("0", first), ("1", self.second(torch.relu(first)))])


def spread(network: nn.Module, gain: float) -> nn.Module:
    """Weights wide enough that scores differ."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            fan = parameter[0].numel()
            # Boxes move little, so that they have an area.
            nn.init.normal_(parameter, std=gain / fan**0.5 * (0.1 if "bbox" in name else 1.0))
        elif "bias" in name:
            nn.init.normal_(parameter, std=0.1)
    return network


def anchors() -> AnchorGenerator:
    return AnchorGenerator(sizes=((12, 20), (24, 40)), aspect_ratios=((0.5, 1.0, 2.0),) * 2)


def pooler(size: int) -> MultiScaleRoIAlign:
    return MultiScaleRoIAlign(featmap_names=["0", "1"], output_size=size, sampling_ratio=2)


def regions(kind: type, **more) -> nn.Module:
    """One of the networks that look twice: proposals first, then what is in them."""
    channels = 8
    return kind(
        Backbone(channels), None, min_size=64, max_size=128, rpn_anchor_generator=anchors(),
        rpn_pre_nms_top_n_test=60, rpn_post_nms_top_n_test=20, box_score_thresh=0.2, box_detections_per_img=12,
        box_roi_pool=pooler(4), box_head=torchvision.models.detection.faster_rcnn.TwoMLPHead(channels * 16, 32),
        box_predictor=torchvision.models.detection.faster_rcnn.FastRCNNPredictor(32, CLASSES), **more,
    )


def mask_rcnn() -> nn.Module:
    parts = torchvision.models.detection.mask_rcnn
    return regions(
        MaskRCNN, mask_roi_pool=pooler(6), mask_head=parts.MaskRCNNHeads(8, (8,), 1),
        mask_predictor=parts.MaskRCNNPredictor(8, 8, CLASSES),
    )


def keypoint_rcnn() -> nn.Module:
    parts = torchvision.models.detection.keypoint_rcnn
    return regions(
        KeypointRCNN, keypoint_roi_pool=pooler(6), keypoint_head=parts.KeypointRCNNHeads(8, (8,)),
        keypoint_predictor=parts.KeypointRCNNPredictor(8, 3),
    )


def ssd() -> nn.Module:
    boxes = DefaultBoxGenerator([[2], [2]], scales=[0.2, 0.4, 0.7])
    head = torchvision.models.detection.ssd.SSDHead([8, 8], boxes.num_anchors_per_location(), CLASSES)
    return SSD(Backbone(8), boxes, (64, 64), CLASSES, head=head, score_thresh=0.3, detections_per_img=12, topk_candidates=40)


# Name: how it is made, the scale of the weights, the seed.
NETWORKS = {
    "faster_rcnn": (lambda: regions(FasterRCNN), 1.6, 1),
    "mask_rcnn": (mask_rcnn, 1.6, 2),
    "keypoint_rcnn": (keypoint_rcnn, 1.6, 3),
    "retinanet": (
        lambda: RetinaNet(
            Backbone(8), CLASSES, min_size=64, max_size=128, anchor_generator=anchors(), score_thresh=0.3,
            detections_per_img=12, topk_candidates=60,
        ), 1.5, 4,
    ),
    "fcos": (
        lambda: FCOS(
            Backbone(32), CLASSES, min_size=64, max_size=128, score_thresh=0.3, detections_per_img=12, topk_candidates=60,
            anchor_generator=AnchorGenerator(sizes=((8,), (16,)), aspect_ratios=((1.0,),) * 2),
        ), 1.5, 5,
    ),
    "ssd": (ssd, 1.6, 6),
}


class OneImage(nn.Module):
    """What people trace: one image in a batch, its boxes, labels and scores as a tuple."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.network([x[0]])[0]
        return found["boxes"], found["labels"], found["scores"]


def draw(name: str, width: int, height: int) -> None:
    image = Image.new("RGB", (width, height), (70, 90, 110))
    pen = ImageDraw.Draw(image)
    seed = torch.Generator().manual_seed(ord(name[0]))
    for kind in ("rectangle", "ellipse", "rectangle", "ellipse", "rectangle"):
        x, y, w, h = (int(v) for v in torch.randint(4, 28, (4,), generator=seed))
        colour = tuple(int(v) for v in torch.randint(0, 256, (3,), generator=seed))
        getattr(pen, kind)((x, y, x + w, y + h), fill=colour)
    image.save(HERE / name)


def save(network: nn.Module, name: str) -> None:
    """Without the marks for a debugger, which are most of such a file."""
    torch.jit.save(network, str(HERE / f"{name}.pt"))


def detectors(table: list) -> None:
    draw("a.png", 64, 48)
    draw("b.png", 64, 48)
    # Twice as large is exact: where the factor is no such number, torchvision's scripted networks scale in single
    # precision and can come to a side that is a pixel shorter than the eager ones'.
    draw("c.png", 32, 56)
    for name, (make, gain, seed) in NETWORKS.items():
        torch.manual_seed(seed)
        network = spread(make(), gain).eval()
        scripted = torch.jit.script(network)
        save(scripted, name)
        for files in CALLS:
            bodies = [(HERE / file).read_bytes() for file in files]
            handler = ObjectDetector()
            handler.model, handler.device, handler.initialized = network, torch.device("cpu"), True
            handler.mapping = {key: value if isinstance(value, str) else value[-1] for key, value in NAMES.items()}
            handler.context = None
            with torch.inference_mode():
                inputs = handler.preprocess([{"data": body} for body in bodies])
                found = network(list(inputs))
                answers = handler.postprocess(network(inputs))
                _, again = scripted(list(inputs))
            for eager, script in zip(found, again):
                assert torch.equal(eager["labels"], script["labels"]) and torch.allclose(eager["boxes"], script["boxes"])
            for one in found:
                scores = one["scores"]
                gaps = (scores[:-1] - scores[1:]).abs()
                print(name, files, len(scores), [round(float(s), 3) for s in scores], "closest", gaps.min() if len(gaps) else None)
            table.append({
                "network": name,
                "files": files,
                "found": [{key: one[key].tolist() for key in ("boxes", "labels", "scores")} for one in found],
                "entries": list(found[0]),
                "torchserve": answers,
            })
    torch.manual_seed(1)
    network = spread(NETWORKS["faster_rcnn"][0](), 1.6).eval()
    example = torchvision.transforms.functional.to_tensor(Image.open(HERE / "a.png")).unsqueeze(0)
    save(torch.jit.trace(OneImage(network), example, check_trace=False), "traced")


def boxes(count: int, side: float, seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=random) * side
    return torch.cat([corner, corner + torch.rand(count, 2, generator=random) * side / 2], 1)


class Operations(nn.Module):
    """Each case as it is computed where this runs, and as it was computed by torchvision."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(7)
        self.boxes = boxes(300, 100, 8)
        self.scores = torch.rand(300, generator=random)
        self.few = (self.scores * 5).floor() / 5
        self.points = torch.cat([self.boxes[:40], self.boxes[:40, :2].repeat(1, 2)])
        self.features = torch.randn(2, 3, 13, 17, generator=random)
        image = torch.randint(0, 2, (40, 1), generator=random).float()
        odd = torch.tensor([
            [0.0, -30, -30, 20, 20], [1, 90, 60, 400, 300], [0, 10, 10, 10, 10], [1, 30, 30, 10, 12],
            [0, -500, -500, -400, -400], [1, 0, 0, 136, 104],
        ])
        self.rois = torch.cat([torch.cat([image, boxes(40, 80, 9)], 1), odd])
        self.expected: dict[str, Tensor] = {}
        self.expected = self.compute()
        # Half precision is summed in single precision; the reference is that sum, rounded once.
        halves = torch.ops.torchvision.roi_align(
            self.features.half().float(), self.rois.half().float(), 0.125, 3, 3, -1, True
        )
        self.expected["roi_align: halves"] = halves.half()
        half = torch.ops.torchvision.nms(self.boxes.half().float(), self.scores.half().float(), 0.5)
        self.expected["nms: halves"] = half

    @torch.jit.export
    def compute(self) -> dict[str, Tensor]:
        boxes, scores, features, rois = self.boxes, self.scores, self.features, self.rois
        got: dict[str, Tensor] = {}
        got["nms: any"] = torch.ops.torchvision.nms(boxes, scores, 0.5)
        got["nms: strict"] = torch.ops.torchvision.nms(boxes, scores, 0.0)
        got["nms: all may stay"] = torch.ops.torchvision.nms(boxes, scores, 1.0)
        got["nms: equal scores"] = torch.ops.torchvision.nms(boxes, self.few, 0.3)
        got["nms: the same boxes twice"] = torch.ops.torchvision.nms(boxes.repeat(2, 1), scores.repeat(2), 0.5)
        got["nms: boxes without an area"] = torch.ops.torchvision.nms(self.points, scores[:80], 0.5)
        got["nms: double"] = torch.ops.torchvision.nms(boxes.double(), scores.double(), 0.7)
        got["nms: every other column"] = torch.ops.torchvision.nms(boxes.t().contiguous().t(), scores.flip(0), 0.4)
        got["nms: no box"] = torch.ops.torchvision.nms(boxes[:0], scores[:0], 0.5)
        got["roi_align: two samples"] = torch.ops.torchvision.roi_align(features, rois, 0.125, 7, 7, 2, False)
        got["roi_align: aligned"] = torch.ops.torchvision.roi_align(features, rois, 0.125, 2, 5, 2, True)
        got["roi_align: as many as pixels"] = torch.ops.torchvision.roi_align(features, rois, 0.25, 3, 2, -1, False)
        got["roi_align: aligned, as many as pixels"] = torch.ops.torchvision.roi_align(features, rois, 0.25, 3, 3, 0, True)
        got["roi_align: double"] = torch.ops.torchvision.roi_align(features.double(), rois.double(), 0.5, 2, 2, -1, True)
        got["roi_align: turned"] = torch.ops.torchvision.roi_align(features.transpose(2, 3), rois, 0.125, 2, 2, 1, False)
        got["roi_align: no box"] = torch.ops.torchvision.roi_align(features, rois[:0], 0.5, 2, 3, 2, True)
        return got

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        got = self.compute()
        boxes, scores = self.boxes.half(), self.scores.half()
        got["nms: halves"] = torch.ops.torchvision.nms(boxes, scores, 0.5)
        got["roi_align: halves"] = torch.ops.torchvision.roi_align(
            self.features.half(), self.rois.half(), 0.125, 3, 3, -1, True
        )
        for name, expected in self.expected.items():
            got["expected " + name] = expected
        return got


class Refused(nn.Module):
    """A box of an image that is not there, which torchvision would read past the end for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.torchvision.roi_align(x, torch.tensor([[1.0, 0.0, 0.0, 4.0, 4.0]]), 1.0, 2, 2, 2, True)


class Endless(nn.Module):
    """A box without end along one side and of nothing along the other, over which torchvision takes years."""

    def forward(self, x: Tensor) -> Tensor:
        box = torch.tensor([[0.0, float("nan"), -1e18, 4.0, 0.0]])
        return torch.ops.torchvision.roi_align(x, box, 1.0, 2, 2, -1, False)


def operations() -> None:
    save(torch.jit.script(Operations()), "operations")
    save(torch.jit.script(Refused()), "refused")
    save(torch.jit.script(Endless()), "endless")


def main() -> None:
    versions = {"torch": torch.__version__, "torchvision": torchvision.__version__, "torchserve": "0.12.0",
                "pillow": PIL.__version__}
    table: list = []
    operations()
    detectors(table)
    lines = ",\n".join(json.dumps(row) for row in table)
    names = json.dumps(NAMES)
    (HERE / "index_to_name.json").write_text(names + "\n")
    (HERE / "expected.json").write_text(f'{{\n"versions": {json.dumps(versions)},\n"calls": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
