"""Files of an encoder's maps, which later commands read: one file per image, found by the pixels that were encoded.

A sweep, a benchmark or a series of methods on one fixed encoder encodes the same images in each of its commands. With a
folder for the maps, only the first command does. A file is named by a hash of the image as the encoder gets it, so that
another size, crop or content of the image has another name. Its folder is named by a hash of the encoder.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from fsseg import atomic
from fsseg.encoders import Encoder
from fsseg.errors import FssegError
from fsseg.methods.base import Maps

_PLAIN = (bool, int, float, str, tuple, type(None))
_LEFT_OUT = {"training", "weights", "_given", "_is_full_backward_hook"}  # `weights` is a file; its content counts
_TOLERANCE = 0.02  # of a map's largest value, for the rounding of other processors and libraries

Encode = Callable[[UInt8[Tensor, "M 3 H W"]], Maps]


class MapFiles:
    """Maps of images, from files, or encoded now and written to files.

    Args:
        folder: folder for the maps of all encoders; created if missing.
        encoder: a fixed encoder.
        like: maps ``C h w`` of `probe`, for their types, and to see whether the code of the encoder is still the same.
        side: height and width of the images.

    Attributes:
        read: number of images whose maps were read.
        fault: why files are not used; empty if they are.
    """

    def __init__(self, folder: Path, encoder: Encoder, like: Maps, side: int) -> None:
        self.folder = folder / _digest(encoder, like)
        self._shapes = [(one.shape, one.dtype) for one in like]
        self.read, self.fault = 0, ""
        path = self.folder / f"probe{side}.safetensors"
        stored = self._read(path)
        if stored is None:
            self._write(path, like)
        elif not all(map(_alike, stored, like)):
            self.fault = f"{self.folder} holds maps of other code of this encoder; delete it"

    def maps(self, images: UInt8[Tensor, "M 3 H W"], encode: Encode, device: torch.device) -> Maps:
        """Maps of images.

        Args:
            images: images on the CPU.
            encode: encodes those images that have no file.
            device: device of the maps.
        """
        if self.fault:
            return encode(images)
        paths = [self._path(image) for image in images]
        found = [self._read(path) for path in paths]
        self.read += sum(maps is not None for maps in found)
        if missing := [i for i, maps in enumerate(found) if maps is None]:
            encoded = encode(images[missing])
            for row, i in enumerate(missing):
                found[i] = tuple(one[row] for one in encoded)
                self._write(paths[i], found[i])
        every = [maps for maps in found if maps is not None]
        return tuple(torch.stack([one.to(device) for one in each]) for each in zip(*every, strict=True))

    def report(self, images: int) -> str:
        """A line about the use of the files.

        Args:
            images: number of images that were asked for.
        """
        if self.fault:
            return f"note: no files of maps: {self.fault}."
        return f"{self.read:,} of {images:,} images were read from {self.folder}"

    def _path(self, image: UInt8[Tensor, "3 H W"]) -> Path:
        name = hashlib.blake2b(bytes(image.contiguous().numpy().data), digest_size=16, salt=b"%d" % image.shape[1])
        return self.folder / name.hexdigest()[:2] / f"{name.hexdigest()[2:]}.safetensors"

    def _read(self, path: Path) -> Maps | None:
        """The maps of a file; None if there is none, or if it is broken."""
        try:
            found = load_file(path)
        except (OSError, SafetensorError):
            return None
        maps = tuple(found[name] for name in sorted(found, key=int))
        return maps if [(one.shape, one.dtype) for one in maps] == self._shapes else None

    def _write(self, path: Path, maps: Maps | None) -> None:
        if self.fault or maps is None:
            return
        content = save({str(i): one.detach().cpu().contiguous() for i, one in enumerate(maps)})
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic.write(path, durable=False, shared=True) as part:
                part.write_bytes(content)
        except (OSError, FssegError) as error:
            self.fault = " ".join(str(error).split())


def encoded(
    encoder: Encoder, images: UInt8[Tensor, "M 3 H W"], device: torch.device, files: MapFiles | None = None
) -> Maps:
    """Maps of images on the CPU, from an encoder on a device, or from files."""

    def encode(those: UInt8[Tensor, "m 3 H W"]) -> Maps:
        maps: Maps = encoder(those.to(device, non_blocking=True))
        return maps

    return files.maps(images, encode, device) if files else encode(images)


def probe(side: int) -> UInt8[Tensor, "1 3 H W"]:
    """An image of noise, the same for all commands."""
    return torch.randint(256, (1, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _digest(encoder: Encoder, like: Maps) -> str:
    """Hash of the weights and settings of an encoder, and of the types of its maps."""
    digest = hashlib.sha256(repr([one.dtype for one in like]).encode())
    for name, module in encoder.named_modules():
        plain = {key: value for key, value in vars(module).items() if isinstance(value, _PLAIN)}
        settings = {key: value for key, value in plain.items() if key not in _LEFT_OUT}
        digest.update(f"{name} {type(module).__qualname__} {sorted(settings.items())}\n".encode())
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _alike(one: Tensor, other: Tensor) -> bool:
    first, second = one.float().cpu(), other.float().cpu()
    return bool((first - second).abs().max() <= _TOLERANCE * second.abs().max())
