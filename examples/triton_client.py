#!/usr/bin/env python3
"""Asks for the classes of a picture through Triton's own client, as a script written for Triton does.

usage: triton_client.py IMAGE [--model NAME] [--url HOST:PORT]

The model takes `input`, pictures of 224 x 224 as FP32, and answers `output`, a number for each class. Needs
tritonclient[grpc], numpy and Pillow. `marserve --triton --model-store FOLDER` serves a Triton repository to it.
"""

import argparse

import numpy as np
import tritonclient.grpc as grpcclient
from PIL import Image

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("image")
parser.add_argument("--model", default="classifier")
parser.add_argument("--url", default="localhost:8001")
arguments = parser.parse_args()

pixels = np.asarray(Image.open(arguments.image).convert("RGB").resize((224, 224)), np.float32) / 255
tensor = ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32).transpose(2, 0, 1)[None]

client = grpcclient.InferenceServerClient(arguments.url)
picture = grpcclient.InferInput("input", tensor.shape, "FP32")
picture.set_data_from_numpy(tensor)
scores = client.infer(arguments.model, [picture]).as_numpy("output")[0]
for place in np.argsort(-scores)[:5]:
    print(f"class {place}: {scores[place]:.4f}")
