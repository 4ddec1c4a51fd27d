#!/usr/bin/env python3
"""Write the preprocessing fixtures: small pictures of all kinds and what Pillow makes of them.

    pip install torch==2.13.0 timm==1.0.31 torchvision==0.28.0 pillow==13.0.0 safetensors
    nice python3 tests/golden/make_preprocess.py        # tests/golden/preprocess

The pictures are cut from those of tests/data. cases.json lists
    "decode":      file -> its pixels by Pillow's convert("RGB"); of JPEG and WebP their SHA-256
    "preprocess":  (file, protocol) -> pixels after timm's evaluation transform, before
                   scaling and normalisation; ImageOps.exif_transpose comes first
and names for each the tensor in expected.safetensors: U8 [height, width, 3].

Left out, because Pillow and the daemon differ by design: PPM with a maximum other than 255 (Pillow
rescales) and GIFs with transparency (Pillow shows the hidden colour). gray16.png is there, but its
expected pixels are the high bytes, as image.h promises, and not Pillow's, which clips.
"""
import argparse
import hashlib
import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file
from timm.data import create_transform

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data"
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2)]  # fmt: skip


def cut(name, box, size):
    """Part of a sample photo; the box in shares of its width and height."""
    photo = Image.open(DATA / f"{name}.jpg").convert("RGB")
    w, h = photo.size
    left, top, right, bottom = box
    area = (left * w, top * h, right * w, bottom * h)
    return photo.resize(size, Image.LANCZOS, box=area)


def resize_as_evaluated(image, size, resample=None, box=None, reducing_gap=None):
    """Horizontal pass, then vertical. Pillow did that for every image until 13.0, which begins
    with the vertical pass where it shrinks the height more; rounding to 8 bits in between then
    falls on other values. The published models were evaluated the first way."""
    assert box is None and reducing_gap is None
    across = pillow_resize(image, (size[0], image.height), resample)
    return pillow_resize(across, tuple(size), resample)


pillow_resize = Image.Image.resize


# ---- writers of what Pillow does not write ----------------------------------------------------


def png(samples, color_type, interlaced=False):
    """PNG from [h, w, channels] of uint8 or uint16, without filters."""
    depth = samples.dtype.itemsize * 8
    height, width, _ = samples.shape
    big = samples.astype(">u2") if depth == 16 else samples

    def chunk(kind, body):
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    rows = b""
    for x, y, dx, dy in passes:
        part = big[y::dy, x::dx]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, int(interlaced))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 9))
        + chunk(b"IEND", b"")
    )


def psd(pixels):
    height, width, channels = pixels.shape
    header = struct.pack(">4sH6sHIIHH", b"8BPS", 1, b"\0" * 6, channels, height, width, 8, 3)
    return header + struct.pack(">IIIH", 0, 0, 0, 0) + pixels.transpose(2, 0, 1).tobytes()


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def turned(image, orientation, endian):
    """A JPEG whose EXIF asks for the turn that shows `image` again."""
    undo = {
        2: Image.FLIP_LEFT_RIGHT,
        3: Image.ROTATE_180,
        4: Image.FLIP_TOP_BOTTOM,
        5: Image.TRANSPOSE,
        6: Image.ROTATE_90,
        7: Image.TRANSVERSE,
        8: Image.ROTATE_270,
    }
    if orientation in undo:
        image = image.transpose(undo[orientation])
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F] = "senetd"  # a maker's name, so that the orientation is not the first entry
    exif[0x0112] = orientation
    return saved(image, "JPEG", quality=90, exif=exif)


def pictures():
    """name -> (format as the daemon calls it, decoded pixels are kept, bytes)"""
    found = {}

    def add(name, kind, kept, content):
        found[name] = (kind, kept, content)

    def jpeg(name, image, **options):
        add(f"{name}.jpg", "jpeg", False, saved(image, "JPEG", **{"quality": 85, **options}))

    whole = (0, 0, 1, 1)
    jpeg("landscape", cut("coffee", whole, (320, 213)))
    jpeg("portrait", cut("cat", (0.25, 0, 0.75, 1), (150, 220)))
    jpeg("panorama", cut("rocket", (0, 0.3, 1, 0.675), (400, 100)))
    jpeg("column", cut("coffee", (0.4, 0, 0.57, 1), (61, 241)))
    jpeg("tiny", cut("cat", whole, (40, 30)))
    jpeg("large", cut("rocket", whole, (640, 427)), quality=60)
    jpeg("odd", cut("cat", whole, (333, 251)), quality=75)
    jpeg("square", cut("coffee", (0.17, 0, 0.83, 1), (256, 256)))
    jpeg("gray", cut("rocket", whole, (211, 140)).convert("L"))
    jpeg("progressive", cut("cat", whole, (233, 155)), progressive=True)
    small = cut("coffee", (0.2, 0.1, 0.8, 0.9), (131, 117))
    jpeg("sampling444", small, subsampling="4:4:4")
    jpeg("sampling422", small, subsampling="4:2:2")
    jpeg("sampling420", small, subsampling="4:2:0")
    jpeg("rgb_components", small, keep_rgb=True)
    jpeg("restarts", small, restart_marker_blocks=3)
    jpeg("low_quality", small, quality=15)
    jpeg("cmyk", small.convert("CMYK"))
    for orientation in range(1, 9):
        endian = "<" if orientation % 2 else ">"
        content = turned(cut("cat", whole, (48, 32)), orientation, endian)
        add(f"exif{orientation}.jpg", "jpeg", False, content)

    cat = cut("cat", whole, (61, 40))
    cup = cut("coffee", (0.2, 0.1, 0.8, 0.9), (53, 47))
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 61, dtype=np.uint8), (40, 1)))
    half = Image.fromarray(np.tile(np.linspace(255, 0, 53, dtype=np.uint8), (47, 1)))
    rgba, la = cat.copy(), cup.convert("L")
    rgba.putalpha(alpha)
    la.putalpha(half)
    palette, sixteen = cat.quantize(256, dither=0), cup.quantize(16, dither=0)
    noise = np.random.default_rng(1).integers(0, 256, (40, 61, 3))
    deep = np.asarray(cat, dtype=np.uint16) * 256 + noise.astype(np.uint16)
    deep_alpha = np.dstack([deep, 257 * np.asarray(alpha, dtype=np.uint16)])
    for name, image, options in [
        ("rgb", cat, {}),
        ("rgba", rgba, {}),
        ("la", la, {}),
        ("gray", cup.convert("L"), {}),
        ("bilevel", cup.convert("1"), {}),
        ("palette", palette, {}),
        ("palette4", sixteen, {"bits": 4}),
        ("palette2", cup.quantize(4, dither=0), {"bits": 2}),
        ("palette_transparent", palette, {"transparency": 3}),
        ("color_key", cat, {"transparency": cat.getpixel((5, 5))}),
    ]:
        add(f"{name}.png", "png", True, saved(image, "PNG", optimize=False, **options))
    add("rgb16.png", "png", True, png(deep, 2))
    add("rgba16.png", "png", True, png(deep_alpha, 6))
    add("gray16.png", "png", True, png(deep[:, :, :1], 0))
    sideways = Image.Exif()
    sideways[0x0112] = 6
    add("exif6.png", "png", True, saved(cat, "PNG", exif=sideways))
    add("interlaced.png", "png", True, png(np.asarray(cat), 2, interlaced=True))
    rows, columns = np.mgrid[0:97, 0:129]
    rings = 127.5 + 127.5 * np.cos((rows**2 + columns**2) / 60.0)
    add("rings.png", "png", True, saved(Image.fromarray(rings.astype(np.uint8)), "PNG"))

    tall = Image.fromarray(rings.astype(np.uint8)[:, 40:65])
    add("tall.png", "png", True, saved(tall, "PNG"))

    add("rgb.bmp", "bmp", True, saved(cat, "BMP"))
    add("bilevel.bmp", "bmp", True, saved(cup.convert("1"), "BMP"))
    add("palette.bmp", "bmp", True, saved(sixteen, "BMP"))
    add("gray.bmp", "bmp", True, saved(cup.convert("L"), "BMP"))
    add("rgba.bmp", "bmp", True, saved(rgba, "BMP"))
    add("still.gif", "gif", True, saved(palette, "GIF", interlace=0))
    add("interlaced.gif", "gif", True, saved(palette, "GIF", interlace=1))
    frames = [cup.quantize(32, dither=0), ImageOps.mirror(cup).quantize(32, dither=0)]
    moving = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    add("moving.gif", "gif", True, moving)
    still = cut("coffee", (0, 0, 1, 1), (113, 77))
    add("lossy.webp", "webp", False, saved(still, "WEBP", quality=80))
    add("lossless.webp", "webp", False, saved(cat, "WEBP", lossless=True))
    add("alpha.webp", "webp", False, saved(rgba, "WEBP", quality=70, exact=True))
    add("exif6.webp", "webp", False, saved(cat, "WEBP", quality=80, exif=sideways))
    films = [still, ImageOps.mirror(still)]
    film = saved(films[0], "WEBP", save_all=True, append_images=films[1:], duration=100)
    add("moving.webp", "webp", False, film)
    add("rgb.tga", "tga", True, saved(cat, "TGA"))
    add("rle.tga", "tga", True, saved(ImageOps.posterize(cat, 2), "TGA", compression="tga_rle"))
    add("rgba.tga", "tga", True, saved(rgba, "TGA"))
    add("gray.tga", "tga", True, saved(cup.convert("L"), "TGA"))
    add("palette.tga", "tga", True, saved(palette, "TGA"))
    add("rgb.psd", "psd", True, psd(np.asarray(cat)))
    add("rgb.ppm", "pnm", True, saved(cat, "PPM"))
    add("gray.pgm", "pnm", True, saved(cup.convert("L"), "PPM"))
    return found


# file: protocols (height, width, crop_pct, interpolation, crop_mode)
PROTOCOLS = {
    "landscape.jpg": [
        (224, 224, 0.875, "bilinear", "center"),
        (64, 64, 0.875, "bicubic", "center"),
        (64, 64, 0.95, "lanczos", "center"),
        (64, 96, 0.9, "bilinear", "center"),
        (96, 64, 0.9, "bicubic", "center"),
        (64, 64, 1.0, "bicubic", "squash"),
    ],
    "portrait.jpg": [
        (96, 96, 0.875, "bilinear", "center"),
        (64, 64, 0.95, "bicubic", "center"),
        (96, 64, 0.875, "lanczos", "center"),
        (47, 65, 0.9, "bicubic", "squash"),
    ],
    "panorama.jpg": [
        (64, 64, 0.875, "bilinear", "center"),
        (96, 96, 0.95, "bicubic", "center"),
        (64, 64, 1.0, "lanczos", "squash"),
    ],
    "column.jpg": [
        (64, 64, 0.875, "bilinear", "center"),
        (96, 96, 0.95, "bicubic", "center"),
    ],
    "tiny.jpg": [
        (64, 64, 0.875, "bilinear", "center"),
        (96, 96, 0.95, "bicubic", "center"),
        (64, 64, 1.0, "lanczos", "center"),
        (33, 35, 0.875, "bicubic", "center"),
    ],
    "large.jpg": [
        (224, 224, 0.95, "bicubic", "center"),
        (64, 64, 0.875, "bilinear", "center"),
        (64, 64, 0.9, "lanczos", "squash"),
    ],
    "odd.jpg": [
        (65, 65, 0.875, "bilinear", "center"),
        (64, 64, 0.95, "bicubic", "center"),
    ],
    "square.jpg": [
        (224, 224, 0.875, "bicubic", "center"),  # nothing to resize
        (64, 64, 0.875, "bilinear", "center"),
    ],
    "rings.png": [
        (64, 64, 0.875, "bilinear", "center"),
        (64, 64, 0.95, "bicubic", "center"),
        (64, 64, 1.0, "lanczos", "center"),
        (64, 40, 0.875, "bicubic", "squash"),
        (96, 96, 0.875, "bicubic", "center"),  # enlarges
    ],
    "tall.png": [
        (33, 33, 0.95, "lanczos", "squash"),  # tells the order of the passes
        (32, 32, 0.875, "bicubic", "center"),
    ],
    "rgb.png": [
        (64, 64, 0.875, "bilinear", "center"),
        (64, 64, 0.875, "bicubic", "center"),
        (64, 64, 0.875, "lanczos", "center"),
        (32, 32, 0.95, "bilinear", "center"),
        (35, 61, 0.875, "bicubic", "center"),
    ],
}
SOME = [(64, 64, 0.875, "bicubic", "center")]
for one in "gray progressive sampling444 sampling422 sampling420 rgb_components".split():
    PROTOCOLS[f"{one}.jpg"] = SOME
for one in "restarts low_quality cmyk".split():
    PROTOCOLS[f"{one}.jpg"] = SOME
PROTOCOLS["palette.png"] = PROTOCOLS["la.png"] = SOME
PROTOCOLS["rgba.png"] = PROTOCOLS["rgb16.png"] = SOME
for one in range(1, 9):
    PROTOCOLS[f"exif{one}.jpg"] = [(32, 32, 0.9, "bilinear", "center")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=HERE / "preprocess")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    tensors, decode, preprocess = {}, [], []
    files = pictures()
    Image.Image.resize = resize_as_evaluated
    for file, (kind, kept, content) in files.items():
        (args.out / file).write_bytes(content)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
        if file == "gray16.png":
            high = np.asarray(image).astype(np.uint16) >> 8
            rgb = Image.fromarray(high.astype(np.uint8)).convert("RGB")
        else:
            rgb = image.convert("RGB")
        entry = {"file": file, "format": kind, "width": rgb.width, "height": rgb.height}
        if kept:
            tensors[file] = torch.from_numpy(np.array(rgb))
            entry["tensor"] = file
        else:
            entry["sha256"] = hashlib.sha256(np.array(rgb).tobytes()).hexdigest()
        decode.append(entry)
        for height, width, crop_pct, interpolation, crop_mode in PROTOCOLS.get(file, []):
            transform = create_transform(
                (3, height, width),
                interpolation=interpolation,
                crop_pct=crop_pct,
                crop_mode=crop_mode,
                normalize=False,
            )
            pixels = transform(rgb).permute(1, 2, 0).contiguous()
            assert pixels.dtype == torch.uint8 and pixels.shape == (height, width, 3)
            tensor = f"{file} {width}x{height} {crop_pct} {interpolation} {crop_mode}"
            tensors[tensor] = pixels
            preprocess.append(
                {
                    "file": file,
                    "format": kind,
                    "width": width,
                    "height": height,
                    "crop_pct": crop_pct,
                    "interpolation": interpolation,
                    "crop_mode": crop_mode,
                    "tensor": tensor,
                }
            )
    save_file(tensors, args.out / "expected.safetensors")
    lines = [
        f'"{name}": [\n' + ",\n".join(" " + json.dumps(case) for case in cases) + "\n]"
        for name, cases in (("decode", decode), ("preprocess", preprocess))
    ]
    (args.out / "cases.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(decode)} decoded, {len(preprocess)} preprocessed")


if __name__ == "__main__":
    main()
