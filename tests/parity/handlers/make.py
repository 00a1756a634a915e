"""Writes the files of this folder: small networks behind TorchServe's own handlers, and what they answer.

    python make.py            # writes into the folder of this script

Every network has random weights from a fixed seed. The archives are made by the official archiver, as for
TorchServe. `expected.json` holds the answers as TorchServe writes them, `texts.json` what its text handler makes of
texts. torchtext cannot be installed beside this torch: the classes of its vocabularies stand here with the
attributes and states that torchtext 0.8 and 0.18 give theirs, under the same module names, so that the pickles are
the same.
"""

import io
import json
import subprocess
import sys
import tempfile
import types
from collections import Counter
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
import ts
from PIL import Image, ImageDraw
from torch import Tensor, nn
from ts.handler_utils.text_utils import ngrams_iterator
from ts.torch_handler.image_classifier import ImageClassifier
from ts.torch_handler.image_segmenter import ImageSegmenter
from ts.torch_handler.text_classifier import TextClassifier
from ts.torch_handler.unit_tests.test_utils.mock_context import MockContext

HERE = Path(__file__).parent
LABELS = {str(i): [f"n{i:02}", name] for i, name in enumerate(
    ["tench", "shark", "cock", "hen", "café", "jay", "owl", "newt", "shark", "toad"])}
TOPICS = {"0": "World", "1": "Sports", "2": "Business", "3": "Sci/Tec"}
# Every so many pixels of a mask's probabilities are written down.
GRID = 8


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.planes = nn.Conv2d(3, 6, 7, stride=4)
        self.scores = nn.Linear(6 * 4 * 4, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.adaptive_avg_pool2d(torch.relu(self.planes(x)), 4)
        return 3 * self.scores(x.flatten(1))


class Segmenter(nn.Module):
    def __init__(self):
        super().__init__()
        self.planes = nn.Conv2d(3, 6, 7, stride=4, padding=3)
        self.scores = nn.Conv2d(6, 5, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores = self.scores(torch.relu(self.planes(x)))
        size = [x.shape[2], x.shape[3]]
        out = nn.functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)
        return {"aux": out.neg(), "out": 4 * out}


class Topics(nn.Module):
    """The network of TorchServe's example, with fewer words."""

    def __init__(self, words: int):
        super().__init__()
        self.embedding = nn.EmbeddingBag(words, 8)
        self.fc = nn.Linear(8, len(TOPICS))

    def forward(self, text: Tensor, offsets: Tensor) -> Tensor:
        return 2 * self.fc(self.embedding(text, offsets))


class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class TwoInputs(nn.Module):
    """Numbers and the index of a category, as FastAI's tabular models have them."""

    def __init__(self):
        super().__init__()
        self.category = nn.Embedding(5, 4)
        self.layer = nn.Linear(7, 2)

    def forward(self, category: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([self.category(category), numbers], 1)
        return self.layer(x), category.max()[None].expand(category.shape[0])


def torchtext():
    """torchtext's modules, with the classes that its pickles name."""
    names = ["torchtext", "torchtext.vocab", "torchtext.vocab.vocab", "torchtext._torchtext"]
    modules = {name: types.ModuleType(name) for name in names}
    sys.modules.update(modules)

    class Old:  # torchtext 0.8, torchtext/vocab.py
        def __init__(self, words, vectors):
            self.freqs = Counter(words)
            self.itos = list(words)
            self.unk_index = 0
            self.stoi = {word: index for index, word in enumerate(words)}
            self.vectors = vectors

        def __getitem__(self, token):
            return self.stoi.get(token, self.stoi.get("<unk>"))

    class Inner:  # torchtext 0.18, csrc/vocab.cpp: what its __getstate__ returns
        def __init__(self, words, default):
            self.words, self.default = words, default

        def __getstate__(self):
            return ("0.0.2", [] if self.default is None else [self.default], self.words, [])

        def __setstate__(self, state):
            _, default, self.words, _ = state
            self.default = default[0] if default else None

        def __getitem__(self, token):
            return self.words.index(token) if token in self.words else self.default

    class New(nn.Module):  # torchtext 0.18, vocab/vocab.py
        def __init__(self, vocab):
            super().__init__()
            self.vocab = vocab

        def __getitem__(self, token):
            return self.vocab[token]

    for cls, module in [(Old, "torchtext.vocab"), (New, "torchtext.vocab.vocab"), (Inner, "torchtext._torchtext")]:
        cls.__module__, cls.__qualname__, cls.__name__ = module, "Vocab", "Vocab"
        modules[module].Vocab = cls
    return Old, New, Inner


def scene(width, height, seed):
    """Grounds, discs and bars; a little noise, so that no two regions are alike."""
    random = np.random.RandomState(seed)
    y, x = np.mgrid[0:height, 0:width]
    ground = np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], 2)
    image = Image.fromarray(ground.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(12):
        left, top = random.randint(0, width), random.randint(0, height)
        box = [left, top, left + random.randint(8, width // 2), top + random.randint(8, height // 2)]
        colour = tuple(int(c) for c in random.randint(0, 256, 3))
        (draw.ellipse if random.rand() < 0.5 else draw.rectangle)(box, fill=colour)
    return image


def images():
    def saved(image, kind, **options):
        out = io.BytesIO()
        image.save(out, kind, **options)
        return out.getvalue()

    rgba = scene(230, 260, 4)
    rgba.putalpha(scene(230, 260, 5).convert("L"))
    return {
        "wide.png": saved(scene(317, 241, 1), "PNG"),
        "small.png": saved(scene(41, 67, 2), "PNG"),
        "gray.png": saved(scene(250, 333, 3).convert("L"), "PNG"),
        "palette.png": saved(scene(301, 300, 6).quantize(32), "PNG"),
        "alpha.png": saved(rgba, "PNG"),
        "photo.jpg": saved(scene(317, 243, 7), "JPEG", quality=85, subsampling=2),
        "gray.jpg": saved(scene(243, 317, 8).convert("L"), "JPEG", quality=85),
    }


def script(network, name):
    torch.jit.save(torch.jit.script(network.eval()), HERE / name)


def served(handler, weights, files):
    """TorchServe's handler over an archive's folder with these files."""
    folder = Path(tempfile.mkdtemp())
    (folder / "model.pt").write_bytes((HERE / weights).read_bytes())
    for name, data in files.items():
        (folder / name).write_bytes(data)
    context = MockContext(model_pt_file="model.pt", model_dir=str(folder), model_file=None)
    handler.initialize(context)
    handler.context = context
    return handler


def answer(handler, data):
    """The answers to a batch. TorchServe refuses images that are not RGB, so those are converted before."""
    if isinstance(handler, TextClassifier):
        return handler.postprocess(handler.inference(handler.preprocess(data)))
    rows = []
    for row in data:
        image = Image.open(io.BytesIO(row["data"]))
        if image.mode != "RGB":
            png = io.BytesIO()
            image.convert("RGB").save(png, "PNG")
            row = {"data": png.getvalue()}
        rows.append(row)
    return handler.postprocess(handler.inference(handler.preprocess(rows)))


def body(value):
    """As ts/protocol/otf_message_handler.py writes an answer."""
    return json.dumps(value, indent=2)


def classified(handler, unnamed, files):
    expected = {}
    for name, data in files.items():
        [found] = answer(handler, [{"data": data}])
        # Where two classes have one name, as here, only their numbers tell how close the likeliest are.
        chances = list(answer(unnamed, [{"data": data}])[0].values())
        gap = min(a - b for a, b in zip(chances, chances[1:]))
        assert gap > 1e-4, f"{name}: two classes lie {gap} apart; take another seed"
        expected[name] = body(found)
    return expected


def segmented(handler, files):
    expected = {}
    for name, data in files.items():
        pixels = np.array(answer(handler, [{"data": data}])[0])
        mask = HERE / f"{name}.mask.png"
        Image.fromarray(pixels[:, :, 0].astype(np.uint8)).save(mask)
        assert len(np.unique(pixels[:, :, 0])) > 2, f"{name}: a dull mask; take another seed"
        expected[name] = {
            "mask": mask.name,
            "shape": list(pixels.shape),
            "grid": GRID,
            "probabilities": pixels[::GRID, ::GRID, 1].tolist(),
        }
    return expected


TEXTS = [
    "Wall St. Bears Claw Back Into the Black (Reuters)",
    "It's a game, isn't it? They'd've won; we won't.",
    "I'd say she'll've  left o'clock, y'all're 'cause ain't",
    "<p class=\"x\">Oil &amp; gas&nbsp;prices</p> <b>rise</b> 5%!",
    "Caf\u00e9 d\u00e9j\u00e0-vu \ufb01nal \u2167 \u2026 na\u00efve \u4f60\u597d \u00df \u0130stanbul",
    "unclosed < tag and > sign, a&b; &LT; &#60; &#x3C; &#x3c;",
    "tabs\tand\nlines\r\nand\x0bmore\x1cspaces\u00a0here\u2003now",
    "Don\u2019t stop: \"quoted\" 'single' it''s SHAN'T sha'n't",
    "<br />line<br/>break<multi\nline> <>empty",
    "'",
]


def texts():
    handler = TextClassifier.__new__(TextClassifier)
    TextClassifier.__init__(handler)
    rows = []
    for text in TEXTS:
        # The steps of TextClassifier.preprocess, up to where the vocabulary is asked.
        cleaned = handler._expand_contractions(handler._remove_html_tags(text).lower())
        cleaned = handler._remove_punctuation(handler._remove_accented_characters(cleaned))
        words = handler._tokenize(cleaned)
        runs = {str(n): list(ngrams_iterator(words, n)) for n in (1, 2, 3)}
        rows.append({"text": text, "words": words, "runs": runs})
    return rows


def vocabularies(words, Old, New, Inner):
    """The same words in every form that a file of words comes in."""
    stoi = {word: index for index, word in enumerate(words)}
    old = Old(words, torch.arange(len(words) * 2.0).reshape(-1, 2))
    forms = {
        "vocab_torchtext_0_8.pt": (old, True),
        "vocab_torchtext_0_8_torch_1_5.pt": (old, False),
        "vocab_torchtext_0_18.pt": (New(Inner(words, 0)), True),
        "vocab_torchtext_0_18_no_default.pt": (New(Inner(words[1:], None)), True),
        "vocab_dict.pt": (stoi, True),
        "vocab_list.pt": (words, True),
    }
    for name, (value, zipped) in forms.items():
        torch.save(value, HERE / name, _use_new_zipfile_serialization=zipped)
    # Without the first word, nothing stands for what is not known.
    return {name: {"first": 1 if "no_default" in name else 0} for name in forms}


def topics(words, Old, New, Inner):
    files = {
        "index_to_name.json": json.dumps(TOPICS).encode(),
        "source_vocab.pt": (HERE / "vocab_torchtext_0_18.pt").read_bytes(),
    }
    load, torch.load = torch.load, lambda *a, **k: load(*a, **{**k, "weights_only": False})
    handler = served(TextClassifier(), "topics.pt", files)
    torch.load = load
    found = {}
    for text in TEXTS[:6]:
        [answered] = answer(handler, [{"data": text.encode()}])
        found[text] = body(answered)
    return found


def archived(name, handler, weights, extra=()):
    """An archive as the official archiver makes it, without a model-config.yaml."""
    archiver = Path(sys.executable).with_name("torch-model-archiver")
    command = [archiver, "--model-name", name, "--version", "1.0", "--handler", handler, "--force",
               "--serialized-file", HERE / weights, "--export-path", HERE]
    if extra:
        command += ["--extra-files", ",".join(str(file) for file in extra)]
    subprocess.run(command, check=True)


def archives():
    archived("classifier", "image_classifier", "classifier.pt", [HERE / "index_to_name.json"])
    archived("segmenter", "image_segmenter", "segmenter.pt")
    folder = Path(tempfile.mkdtemp())
    (folder / "source_vocab.pt").write_bytes((HERE / "vocab_torchtext_0_18.pt").read_bytes())
    (folder / "index_to_name.json").write_text(json.dumps(TOPICS))
    archived("topics", "text_classifier", "topics.pt",
             [folder / "source_vocab.pt", folder / "index_to_name.json"])


def tables():
    torch.manual_seed(5)
    table, two = Table(), TwoInputs()
    script(table, "table.pt")
    script(two, "two_inputs.pt")
    x = torch.randn(3, 4)
    y = table(x)
    # One row, without the batch's dimension, as a client saves it.
    np.save(HERE / "row.npy", x[0].numpy())
    np.save(HERE / "scores.npy", y[0].detach().numpy())
    category, numbers = torch.tensor([[3]]), torch.randn(1, 3)
    scores, largest = two(category[0], numbers)
    return {
        "table": {"x": x.tolist(), "y": y.tolist(), "softmax": y.softmax(1).tolist()},
        "two_inputs": {
            "category": 3, "numbers": numbers[0].tolist(),
            "scores": scores[0].tolist(), "largest": largest[0].item(),
        },
    }


def main():
    torch.manual_seed(3)
    script(Classifier(), "classifier.pt")
    script(Segmenter(), "segmenter.pt")
    names = json.dumps(LABELS, ensure_ascii=False).encode()
    (HERE / "index_to_name.json").write_bytes(names)
    files = images()
    for name, data in files.items():
        (HERE / name).write_bytes(data)

    with torch.inference_mode():
        rows = texts()
        words = ["<unk>"] + sorted({run for row in rows[:4] for run in row["runs"]["2"]})[::2]
        classes = torchtext()
        forms = vocabularies(words, *classes)
        torch.manual_seed(4)
        script(Topics(len(words)), "topics.pt")
        classifier = served(ImageClassifier(), "classifier.pt", {"index_to_name.json": names})
        unnamed = served(ImageClassifier(), "classifier.pt", {})
        segmenter = served(ImageSegmenter(), "segmenter.pt", {})
        expected = {
            "versions": {
                "pillow": PIL.__version__, "torch": torch.__version__, "torchserve": ts.__version__,
                "torchvision": torchvision.__version__, "numpy": np.__version__,
            },
            "classifier": classified(classifier, unnamed, files),
            "unnamed": classified(unnamed, unnamed, {"wide.png": files["wide.png"]}),
            "segmenter": segmented(segmenter, files),
            "topics": topics(words, *classes),
            **tables(),
        }
    (HERE / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    archives()
    for weights in ("classifier.pt", "segmenter.pt", "topics.pt", "index_to_name.json"):
        (HERE / weights).unlink()  # They are in the archives.
    table = {"versions": expected["versions"], "texts": rows, "vocabulary": words, "forms": forms}
    (HERE / "texts.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
