"""Learners that scripts/export_fastai.py could get wrong without a word, and common ones that it must not refuse.

    python -m unittest discover -s tests/parity/fastai -p test_hard_cases.py

Learners are untrained and tiny, on pictures that are drawn here. Neither a server nor `mar` is needed.
"""

import contextlib
import importlib
import io
import sys
import tempfile
import types
import unittest
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import test_refusals as shared
import torch
import torch.nn.functional as F
from fastai.tabular.all import Categorify, FillMissing, TabularDataLoaders, tabular_learner
from fastai.vision.all import (
    BCEWithLogitsLossFlat, Callback, Categorize, CategoryBlock, CrossEntropyLossFlat, Datasets, DiceLoss, FocalLossFlat, ImageBlock,
    IntToFloatTensor, Learner, MaskBlock, MCDropoutCallback, MSELossFlat, MultiCategoryBlock, Normalize, PILImage, PILMask,
    RegressionBlock, RegressionSetup, Resize, ToTensor, Transform, TransformBlock, aug_transforms, get_image_files, unet_learner,
)
from PIL import Image
from test_refusals import export_fastai, learner, network, plane
from torch import nn

Refusal, Failure = export_fastai.Refusal, export_fastai.Failure
MASKS = (ImageBlock, MaskBlock(["ground", "thing"]))


def setUpModule():
    shared.setUpModule()


def pictures():
    return sorted(get_image_files(shared.PICTURES))[:2]


def body(pretrained=False):
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2))
    return nn.Sequential(*(nn.Conv2d(a, b, 3, 2, 1) for a, b in ((3, 8), (8, 8), (8, 16))), *head)


def unet(outputs, loss, blocks=MASKS, **more):
    loaders = learner(blocks, plane, loss=loss, **more).dls
    return unet_learner(loaders, body, n_out=outputs, pretrained=False, normalize=False, loss_func=loss)


@contextlib.contextmanager
def asked(learn, *arguments, samples=None):
    """The arguments of the command for a learner that is exported to a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.pkl"
        learn.export(path)
        given = [part for file in samples or pictures() for part in ("--sample", file)]
        argv = ["export_fastai.py", path, *given, "--out", path.with_name("a.mar"), *arguments]
        with mock.patch.object(sys, "argv", list(map(str, argv))):
            yield export_fastai.arguments()


def proved(learn, samples=None):
    """All that is proved before an archive is packed."""
    with asked(learn, samples=samples) as args, contextlib.redirect_stdout(io.StringIO()):
        return export_fastai.proved(args, None)


class MasksOfOneOutput(unittest.TestCase):
    """BCEWithLogitsLossFlat over one output a pixel."""

    def test_answers_as_learn_predict(self):
        for codes, halved in ((["ground", "thing"], True), (None, True), (np.array(["ground", "thing"]), False)):
            with self.subTest(f"{codes} {halved}"):
                loss = BCEWithLogitsLossFlat(axis=1)
                learn = unet(1, loss, (ImageBlock, MaskBlock(codes)))
                with learn.no_bar():
                    if halved:  # so that every mask has pixels of both classes
                        loss.thresh = learn.predict(pictures()[0])[2].median().item()
                    known = [learn.predict(file) for file in pictures()]
                read, exported, free, samples = proved(learn)
                self.assertEqual(read.target.handler, "mask_segmenter")
                self.assertEqual(read.settings().get("threshold"), loss.thresh if halved else None)
                self.assertTrue(free, "it holds at all sizes")
                if halved:
                    self.assertEqual(len(known[0][1].unique()), 2)
                for (_, decoded, probabilities), sample in zip(known, samples):
                    self.assertEqual(list(decoded.shape), [1, 32, 32])
                    mask, _ = read.target.answers(sample.predicted)
                    expected = (probabilities[0] > loss.thresh).numpy().astype(np.uint8)
                    self.assertEqual(mask.body, expected.tobytes())
                    raw = exported.run((torch.from_numpy(sample.stages[2].tensors[0])[None],))
                    self.assertIsNone(read.target.difference(raw, sample.predicted))
                    self.assertIsNotNone(read.target.difference(raw, (None, ~decoded, None)))

    def test_refusals(self):
        three = (ImageBlock, MaskBlock(["a", "b", "c"]))
        for learn, why in (
            (unet(1, BCEWithLogitsLossFlat(), three), "the codes of the mask: there are 3 of them"),
            (unet(1, BCEWithLogitsLossFlat(thresh=1.0)), "BCEWithLogitsLossFlat: its thresh 1 is no probability"),
            (unet(1, BCEWithLogitsLossFlat(thresh=-0.5)), "BCEWithLogitsLossFlat: its thresh -0.5 is no probability"),
            (unet(2, BCEWithLogitsLossFlat()), r"the network's output: it has the shape \[1, 2, 32, 32\] for 1"),
            (unet(1, CrossEntropyLossFlat(axis=1)), r"the network's output: it has the shape \[1, 1, 32, 32\] for 2 names"),
        ):
            with self.subTest(why), self.assertRaisesRegex(Refusal, f"cannot carry over {why}"):
                proved(learn)
        many = (ImageBlock, MaskBlock([f"c{k}" for k in range(257)]))
        with self.assertRaisesRegex(Refusal, "the codes of the mask: there are 257 of them"):
            shared.settings(learner(many, plane, loss=CrossEntropyLossFlat(axis=1)))


class DiceAndFocal:
    """As FastAI's own documentation has it."""

    def __init__(self, axis=1):
        self.axis, self.focal, self.dice = axis, FocalLossFlat(axis=axis), DiceLoss(axis)

    def __call__(self, made, known):
        return self.focal(made, known) + self.dice(made, known)

    def decodes(self, x):
        return x.argmax(dim=self.axis)

    def activation(self, x):
        return F.softmax(x, dim=self.axis)


class Sharper(DiceAndFocal):
    def activation(self, x):
        return F.softmax(2 * x, dim=self.axis)


class Cautious(CrossEntropyLossFlat):
    def decodes(self, x):
        return (x[..., 1] > 0.9).long()


def root_mean_square(made, known):
    return ((made - known) ** 2).mean().sqrt()


class Losses(unittest.TestCase):
    """A loss says what becomes of the network's output, whoever wrote it."""

    def test_of_a_users_own(self):
        read = export_fastai.read_learner(unet(2, DiceAndFocal()), None)
        self.assertEqual(read.target.handler, "mask_segmenter")
        numbers = learner((ImageBlock, RegressionBlock), lambda f: float(f.stem[1:]), loss=root_mean_square, model=network(1))
        self.assertEqual(proved(numbers)[0].target.handler, "image_regressor")

    def test_that_do_something_else(self):
        tampered = CrossEntropyLossFlat()
        tampered.decodes = lambda x: x.argmin(dim=-1)
        several = BCEWithLogitsLossFlat()
        several.decodes = lambda x: x > 0.9
        for learn, name in (
            (learner(loss=Cautious()), "Cautious"), (learner(loss=tampered), "CrossEntropyLossFlat"), (unet(2, Sharper()), "Sharper"),
            (learner((ImageBlock, MultiCategoryBlock), lambda f: ["a", "b"], loss=several), "BCEWithLogitsLossFlat"),
        ):
            with self.subTest(name), self.assertRaisesRegex(Refusal, f"cannot carry over {name}: how it turns"):
                export_fastai.read_learner(learn, None)


class Told(unittest.TestCase):
    """What learn.predict says beside its numbers is what a client must get."""

    def test_targets_that_are_decoded(self):
        in_logs = TransformBlock(type_tfms=[Transform(np.log, np.exp), RegressionSetup(c=1)])
        learn = learner((ImageBlock, in_logs), lambda f: 2.0, loss=MSELossFlat(), model=network(1))
        with self.assertRaisesRegex(Refusal, "its decodes changes what learn.predict tells"):
            export_fastai.read_learner(learn, None)

    def test_a_predict_of_its_own(self):
        learn = learner()

        def predict(self, item, **more):
            said, *rest = Learner.predict(self, item, **more)
            return said.upper(), *rest

        learn.predict = types.MethodType(predict, learn)
        with self.assertRaisesRegex(Refusal, "what learn.predict tells: of .* it says '[AB]'"):
            proved(learn)

    def test_each_kind_of_answer(self):
        scores = torch.tensor([0.25, 0.75])
        single = export_fastai.SingleLabel(["a", "b"])
        several = export_fastai.MultiLabel(["a", "b"], 0.5)
        mask = export_fastai.Mask(None, None)
        for target, right, wrong in (
            (single, ("b", torch.tensor(1), scores), [("a", torch.tensor(1), scores), ("a", torch.tensor(0), scores)]),
            (several, (["b"], torch.tensor([False, True]), scores), [
                (["a"], torch.tensor([False, True]), scores), (["a", "b"], torch.tensor([True, True]), scores)]),
            (export_fastai.Numbers(1), ((0.5,), scores[:1] * 2, scores[:1] * 2), [((5.0,), scores[:1] * 2, scores[:1] * 2)]),
            (mask, (torch.ones(2, 2), torch.ones(2, 2), None), [(torch.zeros(2, 2), torch.ones(2, 2), None)]),
        ):
            with self.subTest(type(target).__name__):
                self.assertIsNone(target.odd(right))
                for one in wrong:
                    self.assertIsNotNone(target.odd(one))


class OfMasks(Transform):
    order = 2

    def encodes(self, x: PILMask):
        return x


class ItemTransforms(unittest.TestCase):
    """Samples may have the network's size already, and show nothing of what happens to others."""

    def test_that_run_after_the_image_is_a_tensor(self):
        with self.assertRaisesRegex(Refusal, "cannot carry over Resize: it comes after ToTensor"):
            export_fastai.read_learner(learner(item=Resize(32, order=6), batch_size=1), None)

    def test_that_were_tampered_with(self):
        off = Resize(32)
        off.do = False
        with self.assertRaisesRegex(Refusal, "the item transforms: they make something else of an image of 65x17"):
            export_fastai.read_learner(learner(item=off, batch_size=1), None)

    def test_that_stand_among_what_opens_images(self):
        files = get_image_files(shared.PICTURES)
        data = Datasets(files, [[PILImage.create, Resize(32)], [shared.letter, Categorize()]], splits=[[0, 1, 2, 3], [4, 5]])
        loaders = data.dataloaders(after_item=[ToTensor()], after_batch=[IntToFloatTensor()], bs=2, num_workers=0)
        with self.assertRaisesRegex(Refusal, "cannot carry over Resize: it stands among what opens an image; move it to item_tfms"):
            proved(Learner(loaders, network(), loss_func=CrossEntropyLossFlat()))
        data = Datasets(files, [[PILImage.create], [shared.letter, Categorize()]], splits=[[0, 1, 2, 3], [4, 5]])
        loaders = data.dataloaders(after_item=[Resize(32), ToTensor()], after_batch=[IntToFloatTensor()], bs=2, num_workers=0)
        read = proved(Learner(loaders, network(), loss_func=CrossEntropyLossFlat()))[0]
        self.assertEqual(read.settings()["size"], [32, 32])

    def test_for_masks_alone(self):
        learn = unet(2, CrossEntropyLossFlat(axis=1), item=[Resize(32), OfMasks()])
        self.assertEqual(proved(learn)[0].target.handler, "mask_segmenter")

        def any_type(x):
            return x

        for other in (any_type, Transform(lambda x: x)):
            with self.assertRaisesRegex(Refusal, "your own code"):
                export_fastai.read_learner(learner(item=[Resize(32), other]), None)


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        return self.inner(x) if x.mean() < 0.9 else -self.inner(x)


class OverTheBatch(Branches):
    def forward(self, x):
        return self.inner((x - x.mean()) / x.std())


class Noisy(Branches):
    def forward(self, x):
        return F.dropout(self.inner(x))


class OneSize(Branches):
    def forward(self, x):
        assert x.shape[-1] == 32, "another size"
        return self.inner(x)


class Raises(Callback):
    def before_fit(self):
        self.model[0].weight.data.mul_(1.1)


class Networks(unittest.TestCase):
    """A file is one function of one input."""

    def test_that_are_not_one_function(self):
        for model, why in (
            (Branches(), r"its Python code reads numbers of what it computes \(.*forward, line"),
            (OverTheBatch(), "it gives another answer for an input in a batch"), (Noisy(), "it gives another answer each time"),
        ):
            with self.subTest(why), self.assertRaisesRegex(Refusal, f"cannot carry over the network: {why}"):
                proved(learner(model=model))

    def test_that_callbacks_change(self):
        dropping = nn.Sequential(*network(16), nn.Dropout(), nn.Linear(16, 2))
        for model, callback in ((dropping, MCDropoutCallback()), (network(), Raises())):
            learn = learner(model=model)
            learn.add_cb(callback)
            with self.subTest(type(callback).__name__), self.assertRaisesRegex(Refusal, "another answer for .* each time"):
                proved(learn)

    def test_that_callbacks_change_in_training_alone(self):
        class Doubled(Callback):
            run_valid = False

            def before_batch(self):
                self.learn.xb = tuple(x * 2 for x in self.xb)

        learn = learner()
        learn.add_cb(Doubled())
        self.assertEqual(proved(learn)[0].target.handler, "image_classifier")

    def test_that_assert_their_size(self):
        self.assertFalse(proved(learner(model=OneSize()))[2], "it holds at one size")

    def test_that_resample(self):
        read = proved(learner(batch=[*aug_transforms(size=24), Normalize.from_stats([0.5], [0.25])]))[0]
        self.assertEqual([type(t).__name__ for t in read.pre.baked], ["Flip", "Normalize"])


class Tables(unittest.TestCase):
    """Rows, and figures that no configuration can hold."""

    def table(self, procs=(Categorify, FillMissing, Normalize), **columns):
        draw = np.random.RandomState(4)
        table = pd.DataFrame({"work": draw.choice(["a", "b"], 24), "age": draw.rand(24), "y": draw.choice(["no", "yes"], 24), **columns})
        others = [name for name in columns if name != "id"]
        loaders = TabularDataLoaders.from_df(
            table, procs=list(procs), cat_names=["work", *(["id"] if "id" in columns else [])], cont_names=["age", *others], y_names="y",
            bs=4, valid_idx=[0, 1],
        )
        return tabular_learner(loaders, layers=[4]), table

    def test_large_numbers_as_categories(self):
        large = [2**60 + 1, 2**60 + 2, 5] * 8
        learn, _ = self.table(id=large)
        columns = shared.settings(learn)["columns"]["categorical"]
        self.assertEqual(columns[1]["categories"], [5, 2**60 + 1, 2**60 + 2])
        written = export_fastai.config_text({"columns": {"categorical": columns}}, "")
        self.assertIn("categories: [5, 1152921504606846977, 1152921504606846978]", written)

    def test_figures_that_are_not_finite(self):
        learn, _ = self.table(z=[np.inf, *np.linspace(0, 1, 23)][::-1])
        with self.assertRaisesRegex(Refusal, "cannot carry over the column z: its mean is inf"):
            export_fastai.read_learner(learn, None)

    def test_a_proc_that_stands_there_twice(self):
        with self.assertRaisesRegex(Refusal, "cannot carry over Normalize: it stands among the procs more than once"):
            export_fastai.read_learner(self.table([Categorify, Normalize, Normalize])[0], None)

    def test_files_of_rows(self):
        learn, _ = self.table()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.csv"
            for text, why in (
                ("work,age\n", "it has no rows"), ("work,age\na,inf\n", "the column age is infinite"), ("work\na\n", "has no column 'age'"),
            ):
                file.write_text(text)
                with self.subTest(why), self.assertRaisesRegex(Failure, why):
                    proved(learn, [file])

    def test_answers_that_differ_are_said(self):
        learn, table = self.table()

        class Over(Callback):
            def after_batch(self):
                self.learn.pred = self.pred * 0 + 1

        Over.order = -50
        learn.add_cb(Over())
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "rows.csv"
            table.head(2).to_csv(file)
            with self.assertRaisesRegex(Failure, "makes another answer than learn.predict"):
                proved(learn, [file])


class Names(unittest.TestCase):
    def test_that_are_no_text(self):
        odd = (ImageBlock, CategoryBlock(vocab=["a", "b", "caf\udce9"], sort=False))
        with self.assertRaisesRegex(Refusal, "cannot carry over the vocabulary: 'caf.udce9' is no text"):
            export_fastai.read_learner(learner(odd), None)


class Opening(unittest.TestCase):
    def test_what_a_learner_refers_to(self):
        code = "from torch import nn\nclass Net(nn.Sequential):\n    pass\n"
        with tempfile.TemporaryDirectory() as folder, mock.patch.object(sys, "path", [*sys.path]), mock.patch.dict(sys.modules):
            (Path(folder) / "lib").mkdir()
            file = Path(folder) / "lib/nets_of_a_user.py"
            file.write_text(code)
            sys.path.insert(0, str(file.parent))
            made = importlib.import_module("nets_of_a_user").Net(*network())
            path = Path(folder) / "export.pkl"
            learner(model=made).export(path)
            sys.path.remove(str(file.parent))
            del sys.modules["nets_of_a_user"]
            with self.assertRaisesRegex(Failure, "does not open: ModuleNotFoundError: No module named 'nets_of_a_user'; .* --code"):
                export_fastai.open_learner(path, [])
            self.assertEqual(type(export_fastai.open_learner(path, [file]).model).__name__, "Net")

    def test_the_program_that_packs(self):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            Path("mar").write_text("no program")
            with self.assertRaisesRegex(Failure, "mar is not a mar that knows --sample"):
                export_fastai.find_mar(Path("mar"))
            Path("mar").write_text(MAR)
            Path("mar").chmod(0o755)
            self.assertEqual(export_fastai.find_mar(Path("mar")), Path(folder).resolve() / "mar")


MAR = """#!/bin/sh
echo --sample
for last; do :; done
touch "$last/a.mar"
echo "$@" > "$0.asked"
echo "mar: warning: $SAID" >&2
"""


class Packing(unittest.TestCase):
    """What is handed to mar, and what is made of what it says; the mar here does nothing but warn."""

    def packed(self, args, folder, said):
        mar = folder / "mar"
        mar.write_text(MAR)
        mar.chmod(0o755)
        args.mar = mar
        with mock.patch.dict("os.environ", SAID=said), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            export_fastai.export(args)
        return (folder / "mar.asked").read_text().split()

    def test_samples_of_one_name(self):
        with tempfile.TemporaryDirectory() as other:
            folder = Path(other)
            first, second = pictures()
            (folder / "b").mkdir()
            twin = folder / "b" / first.name
            twin.write_bytes(second.read_bytes())
            with asked(learner(), "--keep", folder / "kept", samples=[first, twin]) as args:
                said = self.packed(args, folder, "nothing of note")
            files = [Path(said[place + 1]) for place, word in enumerate(said) if word == "--sample"]
            self.assertEqual([f.read_bytes() for f in files], [first.read_bytes(), second.read_bytes()])

    def test_archives_that_no_server_could_answer_with(self):
        for said, kind, why in (
            ("no server will load the archive: why", Failure, "no server could answer with the archive: no server will load"),
            ('sample "a.png": the handler refuses it: why', Failure, "no server could answer with the archive: sample"),
            ('sample "a.png": the handler makes something else at the stage resize than is known', Refusal, "does it otherwise: sample"),
        ):
            with self.subTest(said), tempfile.TemporaryDirectory() as folder, asked(learner()) as args:
                with self.assertRaisesRegex(kind, why):
                    self.packed(args, Path(folder), said)
                self.assertFalse(args.out.exists())
                self.assertEqual([p.name for p in args.out.parent.iterdir()], ["export.pkl"])

    def test_samples_that_are_no_images(self):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "a.png"
            made = learner()
            Image.new("L", (200, 200)).save(file)
            with mock.patch.object(Image, "MAX_IMAGE_PIXELS", 10_000), self.assertRaisesRegex(Failure, "predict it: Image size"):
                proved(made, [file])
            file.write_text("no image")
            with self.assertRaisesRegex(Failure, "FastAI itself does not predict it: cannot identify"):
                proved(made, [file])


if __name__ == "__main__":
    unittest.main()
