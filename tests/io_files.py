"""Frames written in every format that is read, by other libraries than ours, and what errors say."""

from __future__ import annotations

import json
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from cs_recon.io import read_frames
from simulate.errors import InputError

DATA = Path(__file__).parents[2] / "shared" / "data" / "stem"

SHAPE = (24, 32)
FRAME = np.random.default_rng(7).integers(0, 200, SHAPE)
FRAME[0, :5] = 0


def save_picture(path, frame):
    Image.fromarray(frame.astype(np.uint8)).save(path, **({"lossless": True} if path.suffix == ".webp" else {}))


def save_mrc(path, frame):
    """An MRC2014 file of float32 with 0.25 nm pixels (2.5 Å)."""
    stack = np.atleast_3d(frame.T).T.astype("<f4")
    n, height, width = stack.shape
    header = bytearray(1024)
    struct.pack_into("<10i6f3i", header, 0, width, height, n, 2, 0, 0, 0, width, height, n,
                     2.5 * width, 2.5 * height, 2.5 * n, 90, 90, 90, 1, 2, 3)  # fmt: skip
    path.write_bytes(bytes(header) + stack.tobytes())


def save_ser(path, frame):
    """A TIA series of one float32 image with 0.25 nm pixels."""
    dimension = struct.pack("<IddII6sI", 1, 0, 1, 0, 6, b"Number", 0)
    offsets_at = 30 + len(dimension)
    data_at = offsets_at + 8
    height, width = frame.shape
    head = struct.pack("<ddI ddI HII", 0, 2.5e-10, 0, 0, 2.5e-10, 0, 7, width, height)
    data = head + frame[::-1].astype("<f4").tobytes()  # the rows lie bottom up
    header = struct.pack("<HHHIIIIII", 0x4949, 0x0197, 0x0210, 0x4122, 0x4152, 1, 1, offsets_at, 1)
    tag = struct.pack("<HHI", 0x4152, 0, 1)
    path.write_bytes(header + dimension + struct.pack("<II", data_at, data_at + len(data)) + data + tag)


def save_velox(path, *frames, names=("HAADF", "BF"), unit="m"):
    """A Velox EMD with one image a detector and 0.25 nm pixels."""
    h5py = pytest.importorskip("h5py", reason="needs the extra io")
    with h5py.File(path, "w") as file:
        file["Version"] = [json.dumps({"format": "Velox", "version": "1.0"}).encode()]
        for k, frame in enumerate(frames):
            group = file.create_group(f"Data/Image/{k:032x}")
            group["Data"] = np.atleast_3d(frame).astype(np.float32)
            metadata = {
                "Core": {"MetadataDefinitionVersion": "7.9"},
                "Instrument": {"InstrumentModel": "Test", "InstrumentId": "1"},
                "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1600000000"}},
                "Optics": {},
                "Stage": {},
                "Scan": {},
                "BinaryResult": {
                    "PixelSize": {"width": "2.5e-10", "height": "2.5e-10"},
                    "Offset": {"x": "0", "y": "0"},
                    "PixelUnitX": unit,
                    "PixelUnitY": unit,
                    "Detector": names[k],
                },
                "Detectors": {},
            }
            text = np.frombuffer(json.dumps(metadata).encode().ljust(4000, b"\0"), np.uint8)
            group["Metadata"] = np.ascontiguousarray(text[:, np.newaxis])


def signal_dict(data, navigate=(False, False), scale=2.5, unit="Å", title="HAADF"):
    return {
        "data": data,
        "axes": [
            {"_type": "UniformDataAxis", "name": f"a{k}", "units": unit, "scale": scale, "offset": 0.0,
             "size": size, "navigate": nav, "is_binned": False, "index_in_array": k}
            for k, (size, nav) in enumerate(zip(data.shape, navigate, strict=True))
        ],
        "metadata": {"General": {"title": title}, "Signal": {"signal_type": ""}},
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "tmp_parameters": {},
        "learning_results": {},
        "models": {},
        "package_info": {"package": "", "package_version": ""},
    }  # fmt: skip


def save_rosetta(path, frame, navigate=(False, False), **options):
    plugin = pytest.importorskip(f"rsciio.{path.suffix[1:]}", reason="needs the extra io")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's about itself
        plugin.file_writer(str(path), signal_dict(np.asarray(frame, dtype=np.float32), navigate, **options))


SAVE = {
    ".tif": lambda path, frame: tifffile.imwrite(path, frame.astype(np.float32)),
    ".tiff": lambda path, frame: tifffile.imwrite(path, frame.astype(np.uint16), compression="zlib"),
    ".png": save_picture,
    ".bmp": save_picture,
    ".webp": save_picture,
    ".npy": np.save,
    ".npz": lambda path, frame: np.savez_compressed(path, values=frame),
    ".mrc": save_mrc,
    ".ser": save_ser,
    ".emd": save_velox,
    ".hspy": save_rosetta,
    ".zspy": save_rosetta,
}
NEEDS_EXTRA = (".mrc", ".ser", ".emd", ".hspy", ".zspy")
CALIBRATED = NEEDS_EXTRA


def message_of(path, **options):
    with pytest.raises(InputError) as caught:
        read_frames(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert Path(path).name in message
    return message


STACK = np.stack([FRAME, FRAME + 1, FRAME[::-1], FRAME + 3, FRAME[:, ::-1]])


def save_tif_pages(path, stack):
    with tifffile.TiffWriter(path) as file:
        for frame in stack:
            file.write(frame.astype(np.float32), contiguous=False)
