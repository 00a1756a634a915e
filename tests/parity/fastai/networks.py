"""Networks of a few thousand weights. They stand in a module of their own because a learner's file names it."""

from fastai.layers import ConvLayer, Flatten, ResBlock
from torch import nn


def tiny_network(classes: int, channels: int = 3) -> nn.Sequential:
    """Four convolutions and a layer on their means: takes images of every size."""
    widths = [channels, 8, 16, 24, 32]
    layers = [ConvLayer(a, b, stride=2) for a, b in zip(widths, widths[1:])]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), Flatten(), nn.Linear(widths[-1], classes))


def narrow_body(pretrained: bool = False) -> nn.Sequential:
    """A residual body for `unet_learner` and `vision_learner`, which cut off its last three layers."""
    if pretrained:
        raise ValueError("there are no pretrained weights for this body")
    widths = (6, 8, 10)
    layers = [nn.Sequential(ConvLayer(3, widths[0], stride=2), ConvLayer(widths[0], widths[0]))]
    layers += [ResBlock(1, a, b, stride=2) for a, b in zip(widths, widths[1:])]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), Flatten(), nn.Linear(widths[-1], 2))
