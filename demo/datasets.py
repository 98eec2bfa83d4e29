"""The images that the small models are trained on, and the linear codec fitted to them."""

from __future__ import annotations

import colorsys
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from .emoji import CODEC, LATENT, SUBCATEGORY_AT
from .network import CHANNELS, CONDITION

#: The data sets, and what the files of their models begin with.
SETS = {"google": "emoji", "twitter": "twemoji", "digits": "digits"}

_SIDE = 32
_BORDER = 1
_PATCH = 4
_COLOUR_SEED = 0


@dataclass(frozen=True)
class Images:
    """Images (N, 3, 32, 32) in [-1, 1], and what each shows; not every set has subcategories."""

    pixels: torch.Tensor
    rows: list[dict[str, str]]

    @property
    def categories(self) -> list[str]:
        return sorted({row["category"] for row in self.rows})

    @property
    def subcategories(self) -> list[str]:
        return sorted({row["subcategory"] for row in self.rows if "subcategory" in row})

    def conditions(self) -> torch.Tensor:
        """The condition vectors (N, 128), as `emoji.Conditions` makes them."""
        categories, subcategories = self.categories, self.subcategories
        conditions = torch.zeros(len(self.rows), CONDITION)
        for condition, row in zip(conditions, self.rows):
            condition[categories.index(row["category"])] = 1.0
            if "subcategory" in row:
                at = subcategories.index(row["subcategory"])
                condition[SUBCATEGORY_AT + at] = 1.0
        return conditions

    def listed(self) -> list[dict[str, str]]:
        """What a conditions file lists: every emoji, or where a class is all there is, the classes.

        A data point draws from this list.
        """
        if self.subcategories:
            return self.rows
        return [{"name": name, "category": name} for name in self.categories]


def read_images(data: str, folder: Path | None) -> Images:
    """The images of one of the `SETS`; those of the emoji are in the unpacked npm package."""
    if data == "digits":
        return read_digits()
    assert folder is not None
    return read_emoji(folder, data)


def read_emoji(folder: Path, maker: str = "google") -> Images:
    """Every emoji of the package, and the lightest skin tone of those that have skin tones."""
    sheet = _on_white(folder / "img" / maker / "sheets" / f"{_SIDE}.png")
    content = json.loads((folder / "emoji.json").read_text(encoding="utf-8"))
    cells, rows = [], []
    for entry in content:
        first_tone = list(entry.get("skin_variations", {}).values())[:1]
        for variant in [entry, *first_tone]:
            if not variant[f"has_img_{maker}"]:
                continue
            cells.append(_cell(sheet, variant))
            rows.append(
                {
                    "name": entry["short_name"],
                    "category": entry["category"],
                    "subcategory": entry["subcategory"],
                }
            )
    pixels = torch.from_numpy(np.stack(cells)).permute(0, 3, 1, 2).float()
    return Images(pixels / 255.0 * 2.0 - 1.0, rows)


def _on_white(path: Path) -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(path) as file:
        drawn = file.convert("RGBA")
    white = Image.new("RGBA", drawn.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, drawn).convert("RGB"))


def _cell(sheet: np.ndarray[Any, Any], entry: dict[str, Any]) -> np.ndarray[Any, Any]:
    pitch = _SIDE + 2 * _BORDER
    left = entry["sheet_x"] * pitch + _BORDER
    top = entry["sheet_y"] * pitch + _BORDER
    return sheet[top : top + _SIDE, left : left + _SIDE]


def read_digits() -> Images:
    """scikit-learn's handwritten digits, enlarged smoothly, in random ink on random light paper."""
    from sklearn.datasets import load_digits

    content = load_digits()
    small = torch.from_numpy(content.images).float()[:, None] / 16.0
    ink = F.interpolate(small, size=(_SIDE, _SIDE), mode="bicubic").clamp(0.0, 1.0)
    hues = torch.rand(len(ink), 2, generator=torch.Generator().manual_seed(_COLOUR_SEED))
    dark = torch.tensor([colorsys.hsv_to_rgb(hue, 0.9, 0.7) for hue in hues[:, 0].tolist()])
    light = torch.tensor([colorsys.hsv_to_rgb(hue, 0.2, 1.0) for hue in hues[:, 1].tolist()])
    pixels = light.view(-1, 3, 1, 1).lerp(dark.view(-1, 3, 1, 1), ink)
    rows = [{"name": str(digit), "category": str(digit)} for digit in content.target]
    return Images(pixels * 2.0 - 1.0, rows)


@dataclass(frozen=True)
class Codec:
    """A linear codec of patches: ``patch = (z * scale) @ basis + mean``."""

    basis: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    @classmethod
    def fit(cls, pixels: torch.Tensor) -> Codec:
        """The patches' principal components, each latent channel scaled to unit variance.

        A component's sign is arbitrary: it follows the embedded codec, which `emoji.decode` uses.
        """
        patches = _patches(pixels).flatten(0, 1).double()
        variances, vectors = torch.linalg.eigh(torch.cov(patches.T))
        basis = vectors.T.flip(0)[:CHANNELS]
        embedded = load_file(CODEC)["basis"].double()
        agrees = (basis * embedded).sum(dim=1, keepdim=True) >= 0.0
        basis = torch.where(agrees, basis, -basis)
        scale = variances.flip(0)[:CHANNELS].sqrt()
        return cls(basis.float(), patches.mean(dim=0).float(), scale.float())

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, 32, 32) in [-1, 1] as latents (N, 16, 8, 8)."""
        z = (_patches(pixels) - self.mean) @ self.basis.T / self.scale
        return z.transpose(1, 2).reshape(-1, *LATENT)


def _patches(pixels: torch.Tensor) -> torch.Tensor:
    """The images' patches, (N, 64, 48)."""
    return F.unfold(pixels, _PATCH, stride=_PATCH).transpose(1, 2)
