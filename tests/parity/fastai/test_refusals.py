"""What scripts/export_fastai.py reads from a learner, what it carries over, and what it refuses by name.

    python -m unittest discover -s tests/parity/fastai -p test_refusals.py

Learners are untrained and tiny, on pictures that are drawn here. Neither a server nor `mar` is needed.
"""

import argparse
import contextlib
import importlib.util
import io
import sys
import tempfile
import unittest
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pandas as pd
import torch
from fastai.collab import CollabDataLoaders, collab_learner
from fastai.tabular.all import (
    Categorify, EncodedMultiCategorize, FillMissing, TabularDataLoaders, TabularProc, TransformBlock, tabular_learner,
)
from fastai.vision.all import (
    BCELossFlat, BCEWithLogitsLossFlat, Brightness, Callback, CategoryBlock, CrossEntropyLossFlat, CropPad,
    DataBlock, DiceLoss, FlipItem, FocalLossFlat, ImageBlock, IntToFloatTensor, L1LossFlat, LabelSmoothingCrossEntropyFlat, Learner,
    MaskBlock, MSELossFlat, MultiCategoryBlock, NormType, Normalize, PILImage, PILImageBW, PointBlock, RandomCrop, RandomResizedCrop,
    RandomResizedCropGPU, RandTransform, RatioResize, RegressionBlock, Resize, Transform, aug_transforms, get_image_files,
    imagenet_stats, unet_learner,
)
from PIL import Image
from torch import nn

ROOT = Path(__file__).resolve().parents[3]
STATS = Normalize.from_stats(*imagenet_stats)


def load_script():
    spec = importlib.util.spec_from_file_location("export_fastai", ROOT / "scripts/export_fastai.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["export_fastai"] = module
    spec.loader.exec_module(module)
    return module


export_fastai = load_script()
Refusal, Failure = export_fastai.Refusal, export_fastai.Failure


def setUpModule():
    global PICTURES  # made once for all tests, removed at the end
    folder = tempfile.TemporaryDirectory()
    unittest.addModuleCleanup(folder.cleanup)
    PICTURES = Path(folder.name)
    draw = np.random.RandomState(5)
    for number in range(6):
        pixels = draw.randint(0, 256, (40 + number, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(PICTURES / f"{'ab'[number % 2]}{number}.png")
    warnings.simplefilter("ignore")
    unittest.addModuleCleanup(warnings.resetwarnings)


def letter(path):
    return path.name[0]


def plane(path):
    return (np.asarray(Image.open(path))[:, :, 0] > 128).astype(np.uint8)


def network(outputs=2, channels=3):
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs),
    )


def learner(blocks=(ImageBlock, CategoryBlock), get_y=letter, item="", batch=None, loss=None, model=None, batch_size=2, **block):
    """An untrained learner; its images become 32x32 unless `item` says otherwise."""
    item = Resize(32) if item == "" else item
    data = DataBlock(blocks, get_items=get_image_files, get_y=get_y, item_tfms=item, batch_tfms=batch, **block)
    with contextlib.redirect_stdout(io.StringIO()):
        loaders = data.dataloaders(PICTURES, bs=batch_size, num_workers=0)
    return Learner(loaders, model or network(), loss_func=loss or getattr(loaders, "loss_func", None) or CrossEntropyLossFlat())


def settings(learn):
    return export_fastai.read_learner(learn, None).settings()


class Reads(unittest.TestCase):
    """The declared preprocessing, as FastAI has it outside training."""

    def steps(self, item, **more):
        found = settings(learner(item=item, **more))
        return {k: v for k, v in found.items() if k not in ("activation", "top_k", "labels", "mean", "std")}

    def test_every_method_of_resize(self):
        for method in ("squish", "crop"):
            with self.subTest(method):
                want = {"size": [32, 24], "resize": method, "filter": "bilinear"}
                self.assertEqual(self.steps(Resize((32, 24), method=method)), want)
        for pad_mode in ("zeros", "border", "reflection"):
            with self.subTest(pad_mode):
                want = {"size": [32, 24], "resize": "pad", "pad_mode": pad_mode, "filter": "bilinear"}
                self.assertEqual(self.steps(Resize((32, 24), method="pad", pad_mode=pad_mode)), want)

    def test_every_filter_that_the_server_has(self):
        for name in ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"):
            with self.subTest(name):
                found = self.steps(Resize(32, resamples=(Image.Resampling[name.upper()], Image.Resampling.NEAREST)))
                self.assertEqual(found["filter"], name)

    def test_random_resized_crop_keeps_its_margin(self):
        for size, extra, whole, part in (
            (224, {}, [256, 256], [224, 224]), ((32, 64), {}, [48, 80], [32, 64]), (64, {"val_xtra": 0.3}, [88, 88], [64, 64]),
        ):
            with self.subTest(str(size)):
                want = {"size": whole, "resize": "squish", "filter": "bilinear", "center_crop": part, "crop_rounding": "fastai"}
                self.assertEqual(self.steps(RandomResizedCrop(size, **extra)), want)
        self.assertNotIn("center_crop", self.steps(RandomResizedCrop(32, val_xtra=0)))

    def test_crops_of_the_centre(self):
        want = {"resize": "native", "center_crop": [32, 24], "crop_rounding": "fastai", "pad_mode": "border"}
        self.assertEqual(self.steps(CropPad((32, 24), pad_mode="border")), want)
        want = {"size": [40, 40], "resize": "crop", "filter": "bilinear", "center_crop": [32, 32], "crop_rounding": "fastai"}
        self.assertEqual(self.steps([Resize(40), RandomCrop(32)]), want)

    def test_images_of_their_own_size(self):
        self.assertEqual(self.steps(None, batch_size=1), {"resize": "native"})

    def test_what_is_for_training_alone_does_nothing(self):
        class Blur(Transform):
            split_idx = 0

            def encodes(self, x: Image.Image):
                return x.reduce(2)

        self.assertEqual(self.steps([Resize(32), FlipItem(), Blur()], batch=[Brightness()]), self.steps(Resize(32)))

    def test_normalisation_in_short_decimals(self):
        found = settings(learner(batch=[*aug_transforms(), STATS]))
        self.assertEqual((found["mean"], found["std"]), ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        found = settings(learner())
        self.assertEqual((found["mean"], found["std"]), (0, 1))

    def test_grey_images_and_another_divisor(self):
        blocks = (ImageBlock(PILImageBW), CategoryBlock)
        found = settings(learner(blocks, model=network(channels=1), batch=Normalize.from_stats([0.131], [0.308])))
        self.assertEqual((found["color_mode"], found["mean"], found["std"]), ("L", [0.131], [0.308]))
        found = settings(learner(batch=IntToFloatTensor(div=127.5)))
        self.assertEqual(found["scale"], "1/127.5")

    def test_what_changes_sizes_goes_into_the_file(self):
        for batch, item, baked in (
            (aug_transforms(size=24), Resize(32), ["Flip"]),
            (aug_transforms(size=24, min_scale=0.7), Resize(32), ["RandomResizedCropGPU"]),
            ([RandomResizedCropGPU(24), STATS], Resize(32), ["RandomResizedCropGPU", "Normalize"]),
            (aug_transforms(), Resize(32), []),
            (aug_transforms(size=32), Resize(32), []),
            (aug_transforms(), Resize((90, 30)), ["Flip"]),  # FastAI shrinks tall images first
        ):
            with self.subTest(str(batch)):
                read = export_fastai.read_learner(learner(item=item, batch=batch), None)
                self.assertEqual([type(t).__name__ for t in read.pre.baked], baked)

    def test_labels_and_what_chooses_them(self):
        found = settings(learner())
        self.assertEqual((found["activation"], found["top_k"], found["labels"]), ("softmax", 2, ["a", "b"]))
        for loss in (FocalLossFlat(), LabelSmoothingCrossEntropyFlat(), CrossEntropyLossFlat(axis=1)):
            self.assertEqual(settings(learner(loss=loss))["activation"], "softmax")
        several = (ImageBlock, MultiCategoryBlock)
        found = settings(learner(several, get_y=lambda f: [letter(f), "c"], loss=BCEWithLogitsLossFlat(thresh=0.3)))
        self.assertEqual((found["activation"], found["threshold"], found["labels"]), ("sigmoid", 0.3, ["a", "b", "c"]))
        found = settings(learner(get_y=lambda f: int(f.stem[1:]) % 3, model=network(3)))
        self.assertEqual(found["labels"], ["0", "1", "2"])

    def test_masks_and_numbers(self):
        masks = (ImageBlock, MaskBlock(["ground", "thing"]))
        for loss in (CrossEntropyLossFlat(axis=1), FocalLossFlat(axis=1), DiceLoss()):
            found = export_fastai.read_learner(learner(masks, plane, loss=loss), None)
            self.assertEqual((found.target.handler, found.settings()["labels"]), ("mask_segmenter", ["ground", "thing"]))
        for loss in (MSELossFlat(), L1LossFlat(), nn.SmoothL1Loss()):
            found = export_fastai.read_learner(learner((ImageBlock, RegressionBlock), lambda f: float(f.stem[1:]), loss=loss), None)
            self.assertEqual(found.target.handler, "image_regressor")


class OwnImage(PILImage):
    """A class of images that a user made."""


class Own(RandTransform):
    """A transform that a user made, and that runs in prediction too."""

    split_idx, order = None, 2

    def encodes(self, x: PILImage):
        return x.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def brighter(x: PILImage):
    return x.point(lambda level: min(255, level + 20))


def scaled(x: torch.Tensor):
    return x * 2


class Watch(Callback):
    def before_batch(self):
        self.learn.xb = tuple(x * 2 for x in self.xb)


class OwnLearner(Learner):
    def predict(self, item, **more):
        return super().predict(item, **more)[::-1]


class Refuses(unittest.TestCase):
    """Each by the name of what cannot be carried over."""

    def refused(self, learn, name, why=""):
        with self.assertRaises(Refusal) as caught:
            export_fastai.read_learner(learn, None)
        text = str(caught.exception)
        self.assertTrue(text.startswith(f"cannot carry over {name}: "), text)
        self.assertIn(why, text)
        self.assertIn("; ", text, "what to do")

    def test_item_transforms(self):
        for item, name, why in (
            ([Resize(32), brighter], "brighter", "your own code"),
            ([Resize(32), Own()], "Own", "your own code"),
            (RatioResize(32), "RatioResize", "by chance"),
            ([Resize(40), RandomResizedCrop(32)], "RandomResizedCrop", "after Resize"),
            ([CropPad(32), Resize(24)], "Resize", "after CropPad"),
            ([Resize(24), RandomCrop(32)], "RandomCrop", "pad"),
            ([Resize(32), IntToFloatTensor()], "IntToFloatTensor", "item transforms"),
        ):
            with self.subTest(name):
                self.refused(learner(item=item), name, why)

    def test_batch_transforms(self):
        whole = Normalize(torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32))
        grey = (ImageBlock(PILImageBW), CategoryBlock)
        for more, name, why in (
            ({"batch": scaled}, "scaled", "your own code"),
            ({"batch": whole}, "Normalize", "[1, 3, 32, 32]"),
            ({"batch": [STATS], "blocks": grey}, "Normalize", "images of 1 channels"),
            ({"batch": Normalize.from_stats([0.5] * 3, [0.0] * 3)}, "Normalize", "a std is 0"),
        ):
            with self.subTest(name + why):
                self.refused(learner(**more), name, why)
        bare = TransformBlock(type_tfms=PILImage.create)
        self.refused(learner((bare, CategoryBlock)), "the batch transforms", "IntToFloatTensor")

    def test_inputs_and_targets(self):
        point = (ImageBlock, PointBlock)
        self.refused(learner((ImageBlock(OwnImage), CategoryBlock)), "OwnImage", "PILImage")
        self.refused(learner((MaskBlock, CategoryBlock)), "PILMask")
        self.refused(learner(point, lambda f: [3.0, 4.0], model=network(2)), "PointScaler", "points")
        two = (ImageBlock, ImageBlock, CategoryBlock)
        self.refused(learner(two, get_x=[lambda f: f, lambda f: f], n_inp=2), "the 2 inputs")
        both = (ImageBlock, CategoryBlock, RegressionBlock)
        self.refused(learner(both, [letter, lambda f: 1.0], n_inp=1, loss=CrossEntropyLossFlat()), "the 2 outputs")

    def test_losses(self):
        several = ((ImageBlock, MultiCategoryBlock), lambda f: [letter(f)])
        masks = ((ImageBlock, MaskBlock(["no", "yes"])), plane)
        numbers = ((ImageBlock, RegressionBlock), lambda f: 1.0)
        one = ((ImageBlock, CategoryBlock), letter)
        for (blocks, get_y), loss, name, why in (
            (one, nn.CrossEntropyLoss(), "CrossEntropyLoss", "learn.loss_func = CrossEntropyLossFlat()"),
            (one, nn.functional.cross_entropy, "cross_entropy", "one label"),
            (one, BCEWithLogitsLossFlat(), "BCEWithLogitsLossFlat", "one label"),
            (several, BCELossFlat(), "BCELossFlat", "several labels"),
            (several, nn.BCEWithLogitsLoss(), "BCEWithLogitsLoss", "several labels"),
            (masks, CrossEntropyLossFlat(), "CrossEntropyLossFlat", "axis -1"),
            (masks, LabelSmoothingCrossEntropyFlat(axis=1), "LabelSmoothingCrossEntropyFlat", "axis -1"),
            (numbers, BCEWithLogitsLossFlat(), "BCEWithLogitsLossFlat", "numbers"),
            (numbers, CrossEntropyLossFlat(), "CrossEntropyLossFlat", "numbers"),
        ):
            with self.subTest(f"{name} {why}"):
                self.refused(learner(blocks, get_y, loss=loss), name, why)

    def test_names_of_classes(self):
        self.refused(
            learner((ImageBlock, CategoryBlock(vocab=["a", "b", 1, "1"], sort=False))), "the vocabulary",
            "1 stands there more than once",
        )
        masks = (ImageBlock, MaskBlock(np.array(["void", "road", "void"])))
        self.refused(learner(masks, plane, loss=CrossEntropyLossFlat(axis=1)), "the codes of the mask", "void")

    def test_code_that_runs_in_prediction(self):
        watched = learner()
        watched.add_cb(Watch())
        self.refused(watched, "Watch", "before_batch")
        plain = learner()
        self.refused(OwnLearner(plain.dls, plain.model, loss_func=CrossEntropyLossFlat()), "OwnLearner", "predict")

    def test_networks(self):
        hooked = network()
        hooked[0].register_forward_hook(lambda module, given, made: made * 2)
        with self.assertRaisesRegex(Refusal, "cannot carry over the hook .*lambda.* on 0"):
            export_fastai.plain_network(hooked)

        class AlwaysTraining(nn.Dropout):
            def train(self, mode=True):
                return super().train(True)

        with self.assertRaisesRegex(Refusal, "cannot carry over the layer 1: it stays in training mode"):
            export_fastai.plain_network(nn.Sequential(nn.Linear(2, 2), AlwaysTraining()))

        with self.assertRaisesRegex(Refusal, "cannot carry over the tuple that the network gives"):
            export_fastai.output_of((torch.zeros(1), torch.zeros(1)), "the network")

    def test_a_unet_with_a_layer_of_its_own(self):
        masks = learner((ImageBlock, MaskBlock(["no", "yes"])), plane, loss=CrossEntropyLossFlat(axis=1))

        def body(pretrained=False):
            head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
            return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), *head)

        made = unet_learner(masks.dls, body, n_out=2, pretrained=False, normalize=False, loss_func=CrossEntropyLossFlat(axis=1))
        made.model.layers.insert(len(made.model.layers) - 1, nn.Softmax(dim=1))
        with self.assertRaisesRegex(Refusal, "cannot carry over Softmax: "):
            export_fastai.plain_network(made.model)

    def test_a_network_that_gives_other_numbers_than_there_are_names(self):
        read = export_fastai.read_learner(learner(model=network(1)), None)
        with self.assertRaisesRegex(Refusal, r"the network's output: it has the shape \[1, 1\] for 2 names"):
            export_fastai.check_output(read, read.samples([next(iter(get_image_files(PICTURES)))]))


class Carries(unittest.TestCase):
    """Networks that need more than a trace: the file gives what the learner gives, at every size and batch."""

    def exported(self, learn):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "export.pkl"
            learn.export(path)
            read = export_fastai.read_learner(export_fastai.open_learner(path, []), None)
            return export_fastai.in_torchscript(read, export_fastai.open_learner(path, []).model)

    def test_unets(self):
        def body(pretrained=False):
            head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
            return nn.Sequential(*(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 8), (8, 8), (8, 16))), *head)

        masks = learner((ImageBlock, MaskBlock(["no", "yes"])), plane, loss=CrossEntropyLossFlat(axis=1)).dls
        for options in (
            {}, {"self_attention": True}, {"blur": True}, {"last_cross": False}, {"y_range": (-1, 2)}, {"norm_type": NormType.Spectral},
            {"norm_type": NormType.Weight},
        ):
            with self.subTest(str(options)):
                loss = CrossEntropyLossFlat(axis=1)
                made = unet_learner(masks, body, n_out=2, pretrained=False, normalize=False, loss_func=loss, **options)
                _, free = self.exported(made)
                self.assertTrue(free, "it holds at all sizes")

    def test_resampling_in_the_file(self):
        native = {"item": None, "batch_size": 1}
        for batch, more in (
            (aug_transforms(size=(24, 20)), native), (aug_transforms(), native), ([*aug_transforms(size=24, min_scale=0.7), STATS], {}),
            (aug_transforms(size=24, pad_mode="zeros", align_corners=False), native),
            (RandomResizedCropGPU(24, valid_scale=0.8), native), (aug_transforms(), {"item": Resize((90, 30))}),
        ):
            with self.subTest(str(batch)):
                _, free = self.exported(learner(batch=batch, **more))
                self.assertTrue(free, "it holds at all sizes")

    def test_a_network_of_one_size_holds_at_that_size(self):
        whole = nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.Flatten(), nn.Linear(2 * 16 * 16, 2))
        _, free = self.exported(learner(model=whole))
        self.assertFalse(free)
        with self.assertRaises((Refusal, Failure)):
            self.exported(learner(model=whole, item=None, batch_size=1))


class Onnx(unittest.TestCase):
    """The same networks as ONNX, and what is said of those that have no form there."""

    def exported(self, learn):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "export.pkl"
            learn.export(path)
            read = export_fastai.read_learner(export_fastai.open_learner(path, []), None)
            return export_fastai.in_onnx(argparse.Namespace(learner=path, code=[]), read, True)

    def test_a_classifier_has_a_free_batch_and_free_sides(self):
        pooled = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        for net, sides in ((pooled, True), (nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)), False)):
            made = self.exported(learner(model=net))
            [given] = onnx.load_from_string(made.content).graph.input
            free = [bool(side.dim_param) for side in given.type.tensor_type.shape.dim]
            self.assertEqual(free, [True, False, sides, sides])
            self.assertIn("batches of 1 to 8", made.proved)

    def test_what_onnx_has_no_word_for_is_named_with_the_remedy(self):
        net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(36, 2))
        with self.assertRaisesRegex(Refusal, "to ONNX: Unsupported: .*adaptive_avg_pool2d, output size that are not factor of input size; use --format"):
            self.exported(learner(model=net))

    def test_a_package_that_is_missing_is_named_before_the_work(self):
        there = importlib.util.find_spec
        with mock.patch("importlib.util.find_spec", lambda name: None if name == "onnx" else there(name)):
            with self.assertRaisesRegex(Failure, "^--format onnx needs onnx: pip install onnx$"):
                export_fastai.check_onnx_packages()
        export_fastai.check_onnx_packages()


class Squared(TabularProc):
    def encodes(self, to):
        to.conts = to.conts**2


class Tables(unittest.TestCase):
    """Rows: what is read of their columns, and what is refused."""

    def table(self, procs, categorical, continuous, target="y", **more):
        draw = np.random.RandomState(3)
        table = pd.DataFrame({
            "work": draw.choice([" Private", " ?"], 40), "kids": draw.randint(0, 3, 40), "age": draw.rand(40) * 60,
            "day": pd.date_range("2024-01-01", periods=40), "y": draw.choice(["<50k", ">=50k"], 40), "z": draw.rand(40),
        })
        table.loc[3, "age"] = np.nan
        loaders = TabularDataLoaders.from_df(
            table, procs=procs, cat_names=categorical, cont_names=continuous, y_names=target, bs=8, valid_idx=[0, 1, 2], **more,
        )
        return tabular_learner(loaders, layers=[4])

    def test_columns(self):
        read = export_fastai.read_learner(self.table([Categorify, FillMissing, Normalize], ["work", "kids"], ["age"]), None)
        columns = read.settings()["columns"]
        self.assertEqual(columns["categorical"], [
            {"name": "work", "categories": [" ?", " Private"]}, {"name": "kids", "categories": [0, 1, 2]},
            {"name": "age_na", "missing": "age"},
        ])
        (age,) = columns["continuous"]
        self.assertEqual(list(age), ["name", "fill", "mean", "std"])
        self.assertEqual((read.target.handler, read.settings()["labels"]), ("tensor", ["<50k", ">=50k"]))

    def test_missing_numbers_without_a_column_that_says_so(self):
        filled = FillMissing(add_col=False)
        columns = settings(self.table([Categorify, filled], ["work"], ["age"], target="z"))["columns"]
        self.assertEqual([c["name"] for c in columns["categorical"]], ["work"])
        self.assertEqual(list(columns["continuous"][0]), ["name", "fill"])

    def test_refusals(self):
        cases = [
            (self.table([Categorify, FillMissing, Squared], ["work"], ["age"]), "Squared", "your own code"),
            (self.table([Categorify, FillMissing], ["day"], ["age"]), "the column day", "Timestamp"),
        ]
        flags = TransformBlock(type_tfms=EncodedMultiCategorize(vocab=["kids", "z"]))
        cases.append(
            (self.table([Categorify, FillMissing], ["work"], ["age"], ["kids", "z"], y_block=flags), "EncodedMultiCategorize", ""),
        )
        for learn, name, why in cases:
            with self.subTest(name), self.assertRaises(Refusal) as caught:
                settings(learn)
            self.assertTrue(str(caught.exception).startswith(f"cannot carry over {name}: "), str(caught.exception))
            self.assertIn(why, str(caught.exception))

    def test_recommendations(self):
        ratings = pd.DataFrame({"user": [1, 2, 3] * 8, "item": [4, 5] * 12, "rating": [1.0, 2.0, 3.0] * 8})
        learn = collab_learner(CollabDataLoaders.from_df(ratings, bs=4), n_factors=2)
        with self.assertRaisesRegex(Refusal, "cannot carry over .*Learner: it predicts no rows"):
            settings(learn)

    def test_rows_that_fastai_itself_does_not_predict(self):
        read = export_fastai.read_learner(self.table([Categorify, Normalize], ["work"], ["z"]), None)
        with tempfile.TemporaryDirectory() as folder:
            row = Path(folder) / "row.json"
            for text, why in (
                ('{"work": " ?"}', "has no column 'z'"), ("[1, 2]", "it is no object"), ("{", "give a CSV file with a header"),
            ):
                row.write_text(text)
                with self.subTest(text), self.assertRaisesRegex(Failure, why):
                    read.samples([row])


class Config(unittest.TestCase):
    """Text that both versions of YAML read as what was meant."""

    def test_scalars(self):
        for value, text in (
            ("road", "road"), ("golden retriever", "golden retriever"), ("no", '"no"'), ("Null", '"Null"'), ("1e3", '"1e3"'),
            (" Private", '" Private"'),
            ("a: b", '"a: b"'), ("<50k", '"<50k"'), ("été", '"été"'), ("a\u2028b", '"a\\u2028b"'), ("", '""'), ("0x1F", '"0x1F"'),
            (True, "true"), (3, "3"), (3.0, "3"), (0.1, "0.1"), (None, "null"), ([1, "a"], "[1, a]"), ({"name": "x"}, "{name: x}"),
        ):
            with self.subTest(repr(value)):
                self.assertEqual(export_fastai.scalar(value), text)


class Command(unittest.TestCase):
    """The whole command where it stops: exit status 1, one line that names the cause, and no archive."""

    def stopped(self, *arguments, out="a.mar"):
        told = io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["export_fastai.py", *map(str, arguments), "--out", str(self.folder / out)]),
            mock.patch.object(export_fastai, "find_mar", return_value=Path("no mar is needed")),
            contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()),
        ):
            self.assertEqual(export_fastai.main(), 1)
        lines = [line for line in told.getvalue().splitlines() if "warning: not tested" not in line]
        self.assertEqual(len(lines), 1, told.getvalue())
        return lines[0]

    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.sample = next(iter(get_image_files(PICTURES)))

    def test_a_refusal_leaves_nothing(self):
        learn = learner(loss=nn.CrossEntropyLoss())
        learn.export(self.folder / "export.pkl")
        line = self.stopped(self.folder / "export.pkl", "--sample", self.sample)
        self.assertTrue(line.startswith("export_fastai: cannot carry over CrossEntropyLoss: "), line)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["export.pkl"])

    def test_what_is_not_there(self):
        self.assertIn("there is no", self.stopped(self.folder / "none.pkl", "--sample", self.sample))
        (self.folder / "text.pkl").write_text("no pickle")
        self.assertIn("does not open", self.stopped(self.folder / "text.pkl", "--sample", self.sample))
        self.assertIn("there is no sample", self.stopped("any.pkl", "--sample", self.folder / "none.png"))
        self.assertIn("must end in .mar", self.stopped("any.pkl", "--sample", self.sample, out="a.zip"))
        (self.folder / "a.mar").write_text("kept")
        self.assertIn("--force", self.stopped("any.pkl", "--sample", self.sample))
        self.assertEqual((self.folder / "a.mar").read_text(), "kept")


if __name__ == "__main__":
    unittest.main()
