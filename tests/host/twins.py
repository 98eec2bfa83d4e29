"""The emoji models as ComfyUI's nodes patch them, in Python: what a graph must equal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from dc_solver.demo import emoji
from dc_solver.demo.network import MMDiT
from dc_solver.solvers import FlowSchedule, Schedule, VPSchedule, discrete_time, sample

Guidance = float | Callable[[float], float]
PREDICTIONS = ("eps", "v", "x0", "lcm", "edm", "cosmos", "flow")


class Network(MMDiT):
    """The emoji network on latents of any size up to 8 x 8: positions are cut from the middle."""

    def forward(self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[-2] // 2, x.shape[-1] // 2
        whole = self.pos_embed
        top, left = (4 - rows) // 2, (4 - columns) // 2
        square = whole.view(1, 4, 4, -1)[:, top : top + rows, left : left + columns]
        self.pos_embed = square.reshape(1, rows * columns, -1)
        try:
            return super().forward(x, t, condition)
        finally:
            self.pos_embed = whole


def network(kind: str, lora: dict[str, torch.Tensor] | None = None) -> Network:
    """The weights "eps" or "flow"; ``lora`` is added to those it names."""
    made = Network()
    weights = emoji.load(kind).network.state_dict()
    made.load_state_dict({k: v + lora[k] if lora and k in lora else v for k, v in weights.items()})
    return made.eval().requires_grad_(False)


def zero_snr(sigmas: torch.Tensor) -> torch.Tensor:
    """The table shifted and stretched so that its last signal is (all but) 0 (2305.08891)."""
    root = (1.0 / (sigmas.double() ** 2 + 1.0)).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    kept = root**2
    kept[-1] = 4.8973451890853435e-08
    return ((1.0 - kept) / kept).sqrt().float()


@dataclass
class Twin:
    """A guided model: what it predicts, its table of sigmas (ascending), its map to time."""

    prediction: str = "eps"
    table: torch.Tensor = field(default_factory=emoji.eps_sigmas)
    time: Callable[[torch.Tensor], torch.Tensor] | None = None
    data: float = 1.0
    lora: dict[str, torch.Tensor] | None = None

    def __post_init__(self) -> None:
        assert self.prediction in PREDICTIONS
        self.flow = self.prediction == "flow"
        self.network = network("flow" if self.flow else "eps", self.lora)

    @property
    def schedule(self) -> Schedule:
        if self.flow:
            return FlowSchedule()
        return VPSchedule(None if self.time else discrete_time(self.table.tolist()))

    def model_time(self, sigma: torch.Tensor) -> torch.Tensor:
        if self.time is not None:
            return self.time(sigma)
        if self.flow:
            return 1000.0 * sigma
        return (sigma.log()[:, None] - self.table.log()).abs().argmin(dim=1)

    @torch.no_grad()
    def denoised(
        self, x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor
    ) -> torch.Tensor:
        s = sigma.float().view(-1, 1, 1, 1)
        t = self.model_time(sigma.float())
        if self.flow:
            return x - s * self.network(x, t, condition)
        if self.prediction == "cosmos":  # a flow in time s / (1 + s), rescaled
            signal = 1.0 / (1.0 + s)
            return x * signal - s * signal * self.network(x * signal, t, condition)
        d2 = self.data**2
        spread = s * s + d2
        out = self.network(x / spread.sqrt(), t, condition)
        if self.prediction == "eps":
            return x - s * out
        if self.prediction == "x0":
            return out
        if self.prediction == "lcm":
            scaled = 10.0 * t.view(-1, 1, 1, 1)
            skip = 0.25 / (scaled**2 + 0.25)
            return scaled / (scaled**2 + 0.25).sqrt() * (x - s * out) + skip * x
        sign = 1.0 if self.prediction == "edm" else -1.0
        return x * d2 / spread + sign * out * s * self.data / spread.sqrt()

    def guided(self, cfg: Guidance = 3.0) -> Callable[..., torch.Tensor]:
        """Classifier-free guidance against the empty prompt; ``cfg`` may depend on sigma."""

        def model(x: torch.Tensor, sigma: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
            scale = cfg(float(sigma[0])) if callable(cfg) else cfg
            if scale == 1.0:
                return self.denoised(x, sigma, condition)
            with_prompt = self.denoised(x, sigma, condition)
            without = self.denoised(x, sigma, torch.zeros_like(condition))
            return without + scale * (with_prompt - without)

        return model

    def start(
        self, noise: torch.Tensor, sigma: float, latent: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The state at ``sigma`` of a latent (in the model's scaling) with this noise."""
        latent = torch.zeros_like(noise) if latent is None else latent
        if self.flow:
            return sigma * noise + (1.0 - sigma) * latent
        most = float(self.table[-1])
        whole = sigma > most or math.isclose(sigma, most, rel_tol=1e-5)
        whole = whole and self.prediction != "cosmos"
        return noise * (math.sqrt(1.0 + sigma * sigma) if whole else sigma) + latent

    def finish(self, state: torch.Tensor, sigma: float) -> torch.Tensor:
        """The latent that leaves a sampler node which stopped at ``sigma``."""
        return state / (1.0 - sigma) if self.flow and sigma else state

    def run(
        self,
        sigmas: Sequence[float] | torch.Tensor,
        noise: torch.Tensor,
        condition: torch.Tensor,
        *,
        cfg: Guidance = 3.0,
        latent: torch.Tensor | None = None,
        model: Callable[..., torch.Tensor] | None = None,
        solver: str = "unipc",
        **options: Any,
    ) -> torch.Tensor:
        """What a sampler node gives out, in the model's scaling."""
        values = [float(sigma) for sigma in sigmas]
        state = sample(
            model or self.guided(cfg),
            self.start(noise, values[0], latent),
            torch.tensor(values, dtype=torch.float32),
            schedule=self.schedule,
            solver=solver,
            extra_args={"condition": condition},
            disable=True,
            **options,
        )
        return self.finish(state, values[-1])


def masked(
    twin: Twin,
    model: Callable[..., torch.Tensor],
    mask: torch.Tensor,
    noise: torch.Tensor,
    latent: torch.Tensor,
) -> Callable[..., torch.Tensor]:
    """A model under a noise mask: outside it, the noised original goes in and the original out."""

    def wrapped(x: torch.Tensor, sigma: torch.Tensor, **arguments: Any) -> torch.Tensor:
        s = float(sigma[0])
        original = s * noise + (1.0 - s) * latent if twin.flow else latent + s * noise
        inside = model(x * mask + original * (1.0 - mask), sigma, **arguments)
        return inside * mask + latent * (1.0 - mask)

    return wrapped


def into_model(latent: torch.Tensor) -> torch.Tensor:
    """A latent as the host hands it around, in the scaling of SD3's model."""
    return (latent - 0.0609) * 1.5305


def out_of_model(latent: torch.Tensor) -> torch.Tensor:
    return latent / 1.5305 + 0.0609
