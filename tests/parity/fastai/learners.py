"""The learners whose answers are compared: each way to resize, to normalise and to answer that FastAI has.

Every one is trained for some seconds on made pictures or rows, so that its answers differ from input to input.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fastai.data.all import CategoryBlock, DataBlock, DataLoaders, MultiCategoryBlock, RandomSplitter, RegressionBlock
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, FocalLossFlat, LabelSmoothingCrossEntropyFlat
from fastai.tabular.all import Categorify, FillMissing, TabularDataLoaders, tabular_learner
from fastai.tabular.all import Normalize as NormalizeRows
from fastai.torch_core import set_seed
from fastai.vision.all import (
    CropPad, ImageBlock, MaskBlock, Normalize, PILImageBW, RandomResizedCrop, Resize, aug_transforms, imagenet_stats,
    resnet18, unet_learner, vision_learner, xresnet18,
)

import rows
from networks import narrow_body, tiny_network
from pictures import FIGURES, Picture, draw_set

SIZES = [(96, 80), (80, 96), (120, 72)]
# People's classes have such names; YAML, JSON and a shell see them on their way.
HARD_NAMES = ("red: disc", "'bars'", "null", "crème brûlée")
CODES = ["background", *FIGURES]


@dataclass(frozen=True)
class Recipe:
    """How one learner is made. `kind` says what its answers are, and so how they are compared."""

    kind: str  # label, labels, mask, numbers, row label, row number
    resize: str  # for people, as is the next
    normalise: str
    make: Callable[[Path], Learner]
    epochs: int = 6
    gray: bool = False
    # Inputs are not resized: those of a batch need one size.
    native: bool = False

    def trained(self, folder: Path) -> Learner:
        """The learner after its training, on data that is drawn in `folder`."""
        set_seed(7, reproducible=True)
        learn = self.make(folder)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(self.epochs, 1e-2)
        return learn


class Known:
    """What is known of each picture, by the name of its file."""

    def __init__(self, known: dict[str, object]):
        self.known = known

    def __call__(self, path: Path) -> object:
        return self.known[Path(path).name]


def mask_file(path: Path) -> Path:
    """Where the mask of a picture lies."""
    return path.parent.parent / "masks" / path.name


def mask_of_one(path: Path) -> np.ndarray:
    """The mask with figures of every kind as one class."""
    from PIL import Image

    return (np.asarray(Image.open(mask_file(path))) > 0).astype(np.uint8)


# --- data -------------------------------------------------------------------------------------------


def image_loaders(
    folder: Path, tell: Callable, block: object, items: object = None, batch: object = None, *,
    image: object = ImageBlock, sizes: Sequence = SIZES, several: bool = False, count: int = 160,
) -> DataLoaders:
    """Loaders of pictures that are drawn now. `tell` says what is to be learnt of a `Picture`, or of its file."""
    pictures = draw_set(folder / "data", count, 1000, list(sizes), several)
    files = [folder / "data/images" / f"{number:04d}.png" for number in range(count)]
    of_file = tell in (mask_file, mask_of_one)
    get_y = tell if of_file else Known({file.name: tell(picture) for file, picture in zip(files, pictures)})
    made = DataBlock(
        blocks=(image, block), get_y=get_y, splitter=RandomSplitter(0.2, seed=3), item_tfms=items, batch_tfms=batch,
    )
    return made.dataloaders(files, bs=16, num_workers=0)


def figure(picture: Picture) -> str:
    return FIGURES[picture.figures[0]]


def hard_name(picture: Picture) -> str:
    return HARD_NAMES[picture.figures[0]]


def figures(picture: Picture) -> list[str]:
    return [FIGURES[k] for k in picture.figures]


def place(picture: Picture) -> list[float]:
    return list(picture.centre)


def share(picture: Picture) -> float:
    return float(picture.share)


def of_imagenet() -> Normalize:
    return Normalize.from_stats(*imagenet_stats)


def tiny(data: DataLoaders, **options) -> Learner:
    """A learner of a network of five thousand weights."""
    channels = 1 if data.one_batch()[0].shape[1] == 1 else 3
    return Learner(data, tiny_network(options.pop("n_out", None) or data.c, channels), **options)


# --- one label --------------------------------------------------------------------------------------


def squish(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, Resize(64, "squish"), of_imagenet())
    return vision_learner(data, resnet18, pretrained=False, normalize=False)


def squish_plain(folder: Path) -> Learner:
    data = image_loaders(folder, hard_name, CategoryBlock, Resize((48, 72), "squish"))
    return tiny(data)


def crop(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, Resize((64, 80)), [*aug_transforms(), of_imagenet()])
    return tiny(data)


def crop_plain(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, Resize(64))
    return vision_learner(data, xresnet18, pretrained=False, normalize=False)


def pad_zeros(folder: Path) -> Learner:
    # without figures Normalize takes those of the first batch
    data = image_loaders(folder, figure, CategoryBlock, Resize(64, "pad", pad_mode="zeros"), Normalize())
    return tiny(data)


def pad_reflection(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, Resize((72, 64), "pad"), of_imagenet())
    return tiny(data, loss_func=LabelSmoothingCrossEntropyFlat())


def pad_border(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, Resize(64, "pad", pad_mode="border"))
    return tiny(data, loss_func=FocalLossFlat())


def random_crop(folder: Path) -> Learner:
    data = image_loaders(
        folder, figure, CategoryBlock, RandomResizedCrop(64, min_scale=0.6), [*aug_transforms(), of_imagenet()]
    )
    return vision_learner(data, narrow_body, pretrained=False, normalize=False)


def crop_pad(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, CropPad(96, pad_mode="zeros"), of_imagenet())
    return tiny(data)


def native(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, None, of_imagenet(), sizes=[(96, 80)])
    return tiny(data)


def resized_as_batch(folder: Path) -> Learner:
    data = image_loaders(folder, figure, CategoryBlock, Resize(96), [*aug_transforms(size=64), of_imagenet()])
    return tiny(data)


def gray(folder: Path) -> Learner:
    data = image_loaders(
        folder, figure, CategoryBlock, Resize(64, "squish"), Normalize.from_stats([0.45], [0.2]),
        image=ImageBlock(PILImageBW),
    )
    return tiny(data)


# --- several labels ---------------------------------------------------------------------------------


def several(folder: Path) -> Learner:
    data = image_loaders(
        folder, figures, MultiCategoryBlock, Resize((64, 96), "squish"), of_imagenet(), several=True, count=240
    )
    return tiny(data)


def several_often(folder: Path) -> Learner:
    data = image_loaders(
        folder, figures, MultiCategoryBlock, Resize(64, "pad"), of_imagenet(), several=True, count=240
    )
    return vision_learner(
        data, narrow_body, pretrained=False, normalize=False, loss_func=BCEWithLogitsLossFlat(thresh=0.3)
    )


# --- masks ------------------------------------------------------------------------------------------


def mask_two(folder: Path) -> Learner:
    data = image_loaders(
        folder, mask_of_one, MaskBlock(["background", "figure"]), Resize((64, 96), "squish"), of_imagenet()
    )
    return unet_learner(data, resnet18, pretrained=False, normalize=False)


def mask_logit(folder: Path) -> Learner:
    data = image_loaders(
        folder, mask_of_one, MaskBlock(["background", "figure"]), Resize((64, 96), "squish"), of_imagenet()
    )
    return unet_learner(
        data, narrow_body, pretrained=False, normalize=False, n_out=1, loss_func=BCEWithLogitsLossFlat(thresh=0.4)
    )


def mask_attention(folder: Path) -> Learner:
    data = image_loaders(folder, mask_file, MaskBlock(CODES), Resize(64), of_imagenet())
    return unet_learner(data, xresnet18, pretrained=False, normalize=False, self_attention=True)


def mask_narrow(folder: Path) -> Learner:
    data = image_loaders(folder, mask_file, MaskBlock(CODES), Resize((48, 64), "squish"), of_imagenet())
    return unet_learner(data, narrow_body, pretrained=False, normalize=False)


def mask_native(folder: Path) -> Learner:
    data = image_loaders(folder, mask_file, MaskBlock(CODES), None, None, sizes=[(96, 80)])
    return unet_learner(data, narrow_body, pretrained=False, normalize=False, blur=True)


# --- numbers ----------------------------------------------------------------------------------------


def number_in_range(folder: Path) -> Learner:
    data = image_loaders(folder, share, RegressionBlock, Resize(64, "squish"), of_imagenet())
    return vision_learner(data, narrow_body, pretrained=False, normalize=False, y_range=(0, 1.1))


def two_numbers(folder: Path) -> Learner:
    data = image_loaders(folder, place, RegressionBlock(n_out=2), Resize(64, "squish"), of_imagenet())
    return tiny(data, n_out=2)


# --- tables -----------------------------------------------------------------------------------------


def row_loaders(folder: Path, target: str, **options) -> DataLoaders:
    frame = rows.draw_rows(600, 5)
    # copies, because FillMissing adds to the list it is given
    categories, numbers = list(rows.CATEGORIES), list(rows.NUMBERS)
    return TabularDataLoaders.from_df(
        frame, path=folder, procs=[Categorify, FillMissing, NormalizeRows], cat_names=categories,
        cont_names=numbers, y_names=target, valid_idx=list(range(480, 600)), bs=64, **options,
    )


def row_label(folder: Path) -> Learner:
    return tabular_learner(row_loaders(folder, "label", y_block=CategoryBlock()), layers=[24, 12])


def row_number(folder: Path) -> Learner:
    return tabular_learner(row_loaders(folder, "price", y_block=RegressionBlock()), layers=[24, 12], y_range=(80, 400))


RECIPES = {
    "squish": Recipe("label", "squish", "ImageNet", squish),
    "squish-plain": Recipe("label", "squish", "none", squish_plain),
    "crop": Recipe("label", "crop", "ImageNet", crop),
    "crop-plain": Recipe("label", "crop", "none", crop_plain),
    "pad-zeros": Recipe("label", "pad, zeros", "own batch", pad_zeros),
    "pad-reflection": Recipe("label", "pad, reflection", "ImageNet", pad_reflection),
    "pad-border": Recipe("label", "pad, border", "none", pad_border),
    "random-crop": Recipe("label", "RandomResizedCrop", "ImageNet", random_crop),
    "crop-pad": Recipe("label", "CropPad, zeros", "ImageNet", crop_pad),
    "native": Recipe("label", "none", "ImageNet", native, native=True),
    "resized-as-batch": Recipe("label", "crop, then aug_transforms(size)", "ImageNet", resized_as_batch),
    "gray": Recipe("label", "squish", "one channel", gray, gray=True),
    "several": Recipe("labels", "squish", "ImageNet", several),
    "several-often": Recipe("labels", "pad, reflection", "ImageNet", several_often),
    "mask-two": Recipe("mask", "squish", "ImageNet", mask_two, epochs=4),
    "mask-logit": Recipe("mask", "squish", "ImageNet", mask_logit, epochs=4),
    "mask-attention": Recipe("mask", "crop", "ImageNet", mask_attention, epochs=4),
    "mask-narrow": Recipe("mask", "squish", "ImageNet", mask_narrow, epochs=10),
    "mask-native": Recipe("mask", "none", "none", mask_native, native=True),
    "number-in-range": Recipe("numbers", "squish", "ImageNet", number_in_range),
    "two-numbers": Recipe("numbers", "squish", "ImageNet", two_numbers),
    "row-label": Recipe("row label", "FillMissing", "Normalize", row_label),
    "row-number": Recipe("row number", "FillMissing", "Normalize", row_number),
}
