"""Predict with an exported model, without neoclassic: numpy, pillow and onnxruntime are enough.

    python standalone_predict.py [--json] model.onnx photo.jpg …   one line per image; with --json, all probabilities

The metadata `classes` and `preprocessing` of the model file are JSON. Its output `probabilities` is calibrated.
"""

import contextlib
import hashlib
import importlib
import json
import os
import sys

import numpy as np
from PIL import Image

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise onnxruntime reports its use
import onnxruntime

T = Image.Transpose
TURNS = (T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_270, T.TRANSVERSE, T.ROTATE_90)
UPRIGHT = dict(zip(range(2, 9), TURNS, strict=True))  # the operation that undoes each value of the EXIF tag 0x0112
STRIP = 16  # a crop ignores what makes an image more than this many times longer than wide
Image.init()
with contextlib.suppress(ImportError):  # pillow_heif reads HEIC
    importlib.import_module("pillow_heif").register_heif_opener()
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM")


def narrow(image, maxval):
    """16-bit grey as 8 bits; white is the largest value of the smallest bit depth, 8 to 16, that holds all pixels."""
    wide, bits, most = np.asarray(image), *(np.max(getattr(image, "tag_v2", {}).get(n, 0)) for n in (258, 281))
    if image.mode == "F" or wide.min() < 0 or wide.max() > 65535:
        sys.exit("an image has pixels without a known range: convert it to 8 or 16 bits first")
    stated = 65535 if maxval < 65535 else max(most, 2**bits - 1 if 0 < bits < 16 else 0)  # from the header
    white = next(2**n - 1 for n in (8, 10, 12, 14, 16) if max(wide.max(), min(stated, 65535)) < 2**n)
    return Image.fromarray(((wide.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8))


def coloured(image, mode):
    """The image in mode L or RGB, with transparent pixels composited on white."""
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return image.convert(mode)


def middle(image, h, w, keep, kind):
    """Scale the tighter side to the size divided by `keep`, then crop the middle h×w."""
    H, W = min(image.height, STRIP * image.width), min(image.width, STRIP * image.height)
    left, top = (image.width - W) // 2, (image.height - H) // 2
    image = image.crop((left, top, left + W, top + H))
    tall, wide = round(h / keep), round(w / keep)
    H, W = (tall, tall * W // H) if tall * W >= wide * H else (wide * H // W, wide)
    left, top = round((W - w) / 2), round((H - h) / 2)
    return image.resize((W, H), kind).crop((left, top, left + w, top + h))


def to_input(path, p):
    """An image file as float32 C×H×W, preprocessed according to the record p."""
    image = Image.open(path, formats=[f for f in FORMATS if f in Image.OPEN])  # other formats may start programs
    maxval = image.tile[0][3][-1] if image.format == "PPM" else None
    image.load()  # before EXIF is read: Pillow rotates TIFF here
    turn = UPRIGHT.get(image.getexif().get(0x0112, 1))
    image = narrow(image, maxval if isinstance(maxval, int) else 65535) if image.mode[0] in "IF" else image
    image = coloured(image if turn is None else image.transpose(turn), "L" if p["channels"] == 1 else "RGB")
    (h, w), kind = p["size"], Image.Resampling[p["filter"].upper()]
    if p["fit"] == "crop":
        image = middle(image, h, w, p["keep"], kind)
    else:
        scale = min(h / image.height, w / image.width)
        inner = (max(round(scale * image.width), 1), max(round(scale * image.height), 1))
        image = image.resize(inner if p["fit"] == "pad" else (w, h), kind)
    pixels = np.asarray(image).reshape(image.height, image.width, p["channels"])
    canvas = np.zeros((h, w, p["channels"]), np.uint8)
    top, left = (h - image.height) // 2, (w - image.width) // 2
    canvas[top : top + image.height, left : left + image.width] = 255 - pixels if p["invert"] else pixels
    mean, std = (np.array(p[name], np.float32) for name in ("mean", "std"))
    return ((canvas.astype(np.float32) / np.float32(255) - mean) / std).transpose(2, 0, 1)


def predict(model, paths):
    """For each path, yield the class names, the path and its probabilities. A failure ends in one line."""
    path = model
    try:
        content = np.fromfile(model, np.uint8).tobytes()
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        facts = session.get_modelmeta().custom_metadata_map  # file_sha256: of the file with 64 zeros in its place
        told = facts.get("file_sha256", "").strip('"')
        if facts.get("format") != "1" and hashlib.sha256(content.replace(told.encode(), b"0" * 64)).hexdigest() != told:
            sys.exit(f"{model}: altered or damaged since it was exported; export it again")
        classes, preprocessing = json.loads(facts["classes"]), json.loads(facts["preprocessing"])
        for path in paths:
            yield classes, path, session.run(["probabilities"], {"images": to_input(path, preprocessing)[None]})[0][0]
    except Exception as error:  # Pillow and onnxruntime raise many kinds
        heic = str(path).lower().endswith((".heic", ".heif")) and "HEIF" not in Image.OPEN
        reason = "HEIC images need pillow-heif: pip install pillow-heif" if heic else " ".join(str(error).split())
        sys.exit(f"{path}: {reason or type(error).__name__}")


if __name__ == "__main__":
    as_json = sys.argv[1:2] == ["--json"]
    model, *paths = sys.argv[2 if as_json else 1 :] or sys.exit(__doc__.strip())
    for classes, path, row in predict(model, paths):
        label, probability = classes[row.argmax()], float(row.max())
        line = {"path": path, "label": label, "probability": probability, "probabilities": row.tolist()}
        print(json.dumps(line) if as_json else f"{path}: {label} {probability:.1%}", flush=True)
