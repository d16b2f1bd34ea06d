#!/usr/bin/python3
"""Files in tests/golden/images, and the SHA-256 of what Pillow makes of images, resized: the tables of
tests/worker/codec/image_test.c, printed.

Needs python3-pil. The image of the first table is a formula, so that no file is needed: pixel (x, y) of channel c is
(7 x + 13 y + 29 c + x y + (x * x * 5) // 11) mod 256. Rows are planes [C][H][W], as image_decode writes them.
"""
import hashlib
import os

from PIL import Image


def make(width, height):
    im = Image.new("RGB", (width, height))
    im.putdata([tuple((7 * x + 13 * y + 29 * c + x * y + (x * x * 5) // 11) % 256 for c in range(3))
                for y in range(height) for x in range(width)])
    return im


def digest(image):
    return hashlib.sha256(b"".join(image.getchannel(b).tobytes() for b in image.getbands())).hexdigest()


for (w, h), mode, (W, H) in [
    ((37, 23), "RGB", (32, 32)),
    ((37, 23), "L", (32, 32)),
    ((32, 32), "RGB", (32, 32)),
    ((300, 200), "RGB", (16, 24)),
    ((300, 200), "L", (1, 1)),
    ((5, 4), "RGB", (33, 18)),
    ((1, 1), "RGB", (7, 3)),
    ((640, 3), "RGB", (9, 30)),
]:
    out = make(w, h).convert(mode).resize((W, H), Image.BILINEAR)
    print('{%d, %d, %d, %d, %d, "%s"},' % (w, h, len(mode), W, H, digest(out)))

folder = os.path.join(os.path.dirname(__file__), "images")
os.makedirs(folder, exist_ok=True)
rgb = make(45, 31)
rgba = rgb.copy()
rgba.putalpha(rgb.getchannel("G"))
for name, image, options in [
    ("baseline.jpg", rgb, {"quality": 85}),
    ("whole.jpg", rgb, {"quality": 95, "subsampling": 0}),
    ("progressive.jpg", rgb, {"quality": 75, "progressive": True}),
    ("grey.jpg", rgb.convert("L"), {"quality": 90}),
    ("rgb.png", rgb, {}),
    ("grey.png", rgb.convert("L"), {}),
    ("bits.png", rgb.convert("1"), {}),
    ("palette.png", rgb.quantize(200), {}),
    ("alpha.png", rgba, {}),
    ("grey-alpha.png", rgba.convert("LA"), {}),
]:
    path = os.path.join(folder, name)
    image.save(path, **options)
    for mode in ("RGB", "L"):
        # A luma is made of RGB, as image_decode does it: for JPEG, Pillow would take the file's own.
        out = Image.open(path).convert("RGB").convert(mode).resize((20, 24), Image.BILINEAR)
        print('{"%s", %d, "%s"},' % (name, len(mode), digest(out)))
