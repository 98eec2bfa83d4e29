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
        self._seen: list[tuple[int, float, torch.Tensor, torch.Tensor]] = []

    def __call__(self, state: torch.Tensor, sigma: float, step: int) -> torch.Tensor:
        """x0 at a state, in the dtype of the state; ``step`` is what an error names."""
        given = state.to(self._model_dtype)
        denoised = call_model(self._model, given, sigma, self._extra_args)
        denoised = denoised.to(self.dtype)
        self.count += 1
        if denoised.numel():
            self._seen.append((step, sigma, _all_finite(given), _all_finite(denoised)))
        if self._threshold is not None:  # which would hide what is not finite
            denoised = dynamic_threshold(denoised, self._threshold)
        return denoised

    def check_finite(
        self, steps: int, result: torch.Tensor | None = None, *, outputs_alone: bool = False
    ) -> None:
        """Raises ValueError naming the first step in which the latent or the model's output was not
        finite; the latent after the last call is the ``result``.

        ``outputs_alone`` where latents may have been given up.  Asked once after the run: a
        question at every step would keep the host waiting for the device.
        """
        if not self._seen or self._seen[0][2].is_meta:  # which has no values
            return
        flags = [denoised for _, _, _, denoised in self._seen]
        if not outputs_alone:
            flags += [latent for _, _, latent, _ in self._seen]
        if result is not None:
            flags.append(_all_finite(result))
        if bool(torch.stack(flags).all()):
            return
        before: tuple[int, float] | None = None
        for step, sigma, latent, denoised in self._seen:
            if not outputs_alone and not latent:
                raise start_not_finite() if before is None else _latent_not_finite(*before, steps)
            if not denoised:
                raise ValueError(
                    f"model: expected finite outputs, got NaN or infinity in step {step + 1} of "
                    f"{steps} (sigma {sigma:.6g}); try another precision, or check the model."
                )
            before = (step, sigma)
        assert before is not None
        raise _latent_not_finite(*before, steps)


def start_not_finite() -> ValueError:
    return ValueError("x: expected a finite latent to start from, got NaN or infinity.")


def _latent_not_finite(step: int, sigma: float, steps: int) -> ValueError:
    """Of the latent after the call of a step."""
    return ValueError(
        f"sample: expected a finite image, got NaN or infinity after step {step + 1} of {steps} "
        f"(sigma {sigma:.6g}) of finite outputs; check the ratios, the sigmas and the precision."
    )


def _all_finite(latent: torch.Tensor) -> torch.Tensor:
    """A flag on its device; unlike isfinite of all elements it makes no other latent."""
    return torch.isfinite(latent.max()) & torch.isfinite(latent.min())


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
