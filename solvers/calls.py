"""Model calls: their arguments, their checks, their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from .threshold import dynamic_threshold

Model = Callable[..., torch.Tensor]


class Calls:
    """Calls a model at one sigma after the other and counts them.

    Args:
        model: called as ``model(x, sigma * ones(B), **extra_args)``; returns x0.
        x: the start, whose dtype the model is called in; the outputs come in float32 or better.
        extra_args: keyword arguments for every call.
        threshold: a quantile for dynamic thresholding of x0; None for none.
    """

    def __init__(
        self,
        model: Model,
        x: torch.Tensor,
        extra_args: Mapping[str, Any] | None = None,
        threshold: float | None = None,
    ) -> None:
        self.count = 0
        self.dtype = state_dtype(x.dtype)
        self._model = model
        self._model_dtype = x.dtype
        self._extra_args = dict(extra_args or {})
        self._threshold = threshold
        self._finite: list[tuple[int, float, torch.Tensor]] = []

    def __call__(self, state: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        """x0 at a state, in the dtype of the state; ``step`` is what an error names."""
        denoised = call_model(self._model, state.to(self._model_dtype), sigma, self._extra_args)
        denoised = denoised.to(self.dtype)
        self.count += 1
        if self._threshold is not None:
            denoised = dynamic_threshold(denoised, self._threshold)
        if denoised.numel():
            # Not finite where one element is not; unlike isfinite of all it makes no other latent.
            self._finite.append((step, sigma, torch.isfinite(denoised.max() - denoised.min())))
        return denoised

    def check_finite(self, steps: int, result: torch.Tensor | None = None) -> None:
        """Raises ValueError naming the first step at which the model was not finite, or where only
        the ``result`` is not, the last.

        Asked once after the run: a question at every step would keep the host waiting for the
        device.
        """
        if not self._finite or self._finite[0][2].is_meta:  # which has no values
            return
        flags = [flag for _, _, flag in self._finite]
        if result is not None:
            flags.append(torch.isfinite(result).all())
        if bool(torch.stack(flags).all()):
            return
        for step, sigma, flag in self._finite:
            if not flag:
                raise ValueError(
                    f"model: expected finite outputs, got NaN or infinity in step {step + 1} of "
                    f"{steps} (sigma {sigma:.6g}); try another precision, or check the model."
                )
        step, sigma, _ = self._finite[-1]
        raise ValueError(
            f"sample: expected a finite image, got NaN or infinity after step {step + 1} of "
            f"{steps} (sigma {sigma:.6g}) of finite outputs; check the ratios, the sigmas and the "
            "precision."
        )


def call_model(
    model: Model, x: torch.Tensor, sigma: float, extra_args: Mapping[str, Any]
) -> torch.Tensor:
    """One model call.  Raises ValueError where the output is not shaped as ``x``."""
    batch = torch.full((x.shape[0],), sigma, dtype=state_dtype(x.dtype), device=x.device)
    denoised = model(x, batch, **extra_args)
    shape = getattr(denoised, "shape", None)
    if shape != x.shape:
        got = type(denoised).__name__ if shape is None else tuple(shape)
        raise ValueError(
            f"model: expected a denoised latent of shape {tuple(x.shape)}, got {got} at sigma "
            f"{sigma:.6g}; the model must return x0."
        )
    return denoised


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """float32, or float64 where the caller brings it."""
    return torch.float64 if dtype == torch.float64 else torch.float32
