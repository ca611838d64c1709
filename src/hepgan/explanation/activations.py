"""What the hidden layers of a generator's networks make of events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hepgan.arguments import checked
from hepgan.errors import InputError
from hepgan.events import EventsLike, to_awkward, to_batch
from hepgan.explanation.filters import ImageLayer, described, image_layers, listening
from hepgan.features import FeatureBatch
from hepgan.generator.conditions import check_lengths
from hepgan.generator.density import fitting, needed
from hepgan.generator.sampling import Sampler
from hepgan.learners import Critic, GuidedLearner, Observed
from hepgan.models import BLOCK, DensityModel, Model, Refined
from hepgan.networks import Activation, Network
from hepgan.networks.grid import GridNetwork

if TYPE_CHECKING:
    from hepgan.generator import EventGenerator
    from hepgan.generator.parts import Parts

__all__ = ["Activations", "activations", "encoded", "hidden_layers"]

Floats = NDArray[np.float64]

CHUNK = 1024
"""Events whose activations are taken at once, with the graph of their gradients."""


@dataclass(frozen=True)
class Activations:
    """Events, and what hidden layers make of them.

    Attributes:
        generated: Of the n generated events, by layer (n, width).
        true: Of the m true events, by layer of a critic (m, width); networks that make events don't see them.
        features: The features of generated events (n, D), 0 where an event does not have one.
        true_features: Those of true events (m, D).
        events: The generated events.
        reference: The true events.
        scores: By critic, how real it finds generated events (n,), and true ones (m,).
        images: By name, the layers of images with windows, and what they make of the first events.
    """

    generated: dict[str, Floats]
    true: dict[str, Floats]
    features: Floats
    true_features: Floats
    events: ak.Array
    reference: ak.Array
    scores: dict[str, tuple[Floats, Floats]] = field(default_factory=dict)
    images: dict[str, ImageLayer] = field(default_factory=dict)

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers."""
        return tuple(self.generated)


@checked
def hidden_layers(generator: EventGenerator) -> tuple[str, ...]:
    """The hidden layers of all networks, ``network.k`` with k from 1: ``generator.8``, ``critic.1``.

    Critics have the names that the recipe gives them, other networks those of their place in the model. A
    hidden layer is what an activation function gives.
    """
    return activations(generator, n=2).layers


@checked
def activations(
    generator: EventGenerator,
    events: EventsLike | None = None,
    *,
    layers: Sequence[str] | None = None,
    n: int = 2000,
    condition: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Activations:
    """What hidden layers make of generated events, and those of critics of true ones, too.

    Where a network is called several times for an event, as in flow matching, the last call counts. Layers
    of networks of objects are averaged over the objects. Critics are kept in model files as they were in the
    last step of the training. Of layers of images, means over the cells of each channel are taken.

    Args:
        generator: A trained generator.
        events: True events; those that the model could not make are left out.
        layers: Which layers; all if None.
        n: Number of events to generate, and the most true events to take.
        condition: Conditions of the generated events, as in ``EventGenerator.generate``.
        seed: Seed of the generated events.

    Raises:
        InputError: If there is no such layer, or the true events are not of the model's kind.
        RecipeError: If the generator is an ensemble.
        ValueError: If n is below 1.
    """
    if n < 1:
        msg = f"n must be at least 1, not {n}"
        raise ValueError(msg)
    parts = generator.parts.alone()
    check_lengths(condition, n)
    made, given, noise = _generated(parts, n, condition, seed)
    learner = None if isinstance(parts.model, Refined) else parts.learner(generator.recipe)
    critics = learner.every_critic if isinstance(learner, GuidedLearner) else []
    recorder = _Recorder(parts.model, critics, layers)
    x, found = recorder.generated(given, noise)

    def view(batch: FeatureBatch) -> Observed:
        return cast("GuidedLearner", learner).observed(batch, own_weight=True)

    batch = given.with_x(x).to(dtype=x.dtype)
    judged, made_scores = recorder.judged(critics, batch, noise, view)
    found |= judged
    windows, recorder.windows = recorder.windows, {}
    true: dict[str, Floats] = {}
    true_scores: dict[str, Floats] = {}
    true_features, reference = np.zeros((0, x.shape[1])), made[:0]
    if events is not None:
        features, reference = encoded(parts, events, n)
        features = features.to(dtype=x.dtype)
        latent = None
        if any(c.config.latent for c in critics):
            model = cast("DensityModel", parts.model)
            with torch.no_grad():
                latent = model.latent(features.x, features.context, features.mask)
        true, true_scores = recorder.judged(critics, features, latent, view)
        true_features = features.x.double().cpu().numpy()
    order = [n for n in recorder.names if n in found]
    _check(layers, recorder.names)
    return Activations(
        {n: found[n] for n in order},
        true,
        x.double().cpu().numpy(),
        true_features,
        made,
        reference,
        {n: (scores, true_scores.get(n, np.zeros(0))) for n, scores in made_scores.items()},
        described(recorder.layers_of_images, windows, recorder.windows),
    )


class _Recorder:
    """Takes down what the hidden layers of a model's networks give.

    Args:
        model: The model.
        critics: Its critics.
        layers: Which layers; all if None.
    """

    def __init__(self, model: Model, critics: Sequence[Critic], layers: Sequence[str] | None) -> None:
        self.model = model
        self.layers = None if layers is None else set(layers)
        self.networks = {_name(p): m for p, m in model.named_modules() if isinstance(m, Network)}
        for critic in critics:
            inside = [(p, m) for p, m in critic.named_modules() if isinstance(m, Network)]
            self.networks |= {_name(f"{critic.config.name}.{p}"): m for p, m in inside}
        self.names: list[str] = []
        self.layers_of_images = image_layers(self.networks)
        self.windows: dict[str, Tensor] = {}

    def generated(self, given: FeatureBatch, noise: Tensor) -> tuple[Tensor, dict[str, Floats]]:
        """Features (N, D) that the model makes, and the activations on the way."""
        made, found = [], []
        for rows in _chunks(len(noise)):
            context = given.context[rows].to(noise.dtype)
            mask = None if given.mask is None else given.mask[rows]
            with self._recording() as taken:
                # With gradients no layer's memory is taken by the next, and no network sees fewer events.
                made.append(self.model.sample(noise[rows], context, mask).detach())
            found.append(taken)
        return torch.cat(made), self._joined(found)

    def judged(
        self, critics: Sequence[Critic], batch: FeatureBatch, latent: Tensor | None, view: Any
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """The activations of critics that are shown events, and their outputs (N,)."""
        found, scores = [], []
        for rows in _chunks(len(batch)) if critics else ():
            seen = batch[rows]
            said: dict[str, Floats] = {}
            with self._recording() as taken:
                for critic in critics:
                    shown = seen if latent is None or not critic.config.latent else seen.with_x(latent[rows])
                    score = critic(critic.inputs(view(shown)), shown.context)
                    said[critic.config.name] = score.detach().double().cpu().numpy()
            found.append(taken)
            scores.append(said)
        return self._joined(found), self._joined(scores)

    @contextmanager
    def _recording(self) -> Iterator[dict[str, Floats]]:
        """Fills in the activations of each layer (N, width) of what is computed meanwhile."""
        taken: dict[str, list[Tensor]] = {name: [] for name in self.networks}
        result: dict[str, Floats] = {}
        with ExitStack() as stack, torch.enable_grad():
            for name, network in self.networks.items():
                stack.enter_context(_listening(network, taken[name]))
            stack.enter_context(listening(self.layers_of_images, self.windows))
            yield result
        for name, tensors in taken.items():
            for k, tensor in enumerate(tensors, 1):
                layer = f"{name}.{k}"
                if layer not in self.names:
                    self.names.append(layer)
                if self.layers is None or layer in self.layers:
                    whole = tensor if tensor.ndim == 2 else tensor.flatten(1, -2).mean(dim=1)
                    result[layer] = whole.double().cpu().numpy()

    def _joined(self, found: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
        return {n: np.concatenate([f[n] for f in found]) for n in (found[0] if found else ())}


@contextmanager
def _listening(network: Network, taken: list[Tensor]) -> Iterator[None]:
    """Puts the activations of the network's last call into a list."""
    bind = network.bind

    def bound(context: Tensor | None, mask: Tensor | None = None) -> Any:
        run = bind(context, mask)

        def again(x: Tensor, time: Tensor | None = None) -> Tensor:
            taken.clear()
            return run(x, time)

        return again

    def keep(module: Any, inputs: Any, output: Tensor) -> None:
        # Some activations overwrite their input, which may be the output of another layer.
        kept = output.detach().clone()
        # Of images, the mean of each channel.
        images = isinstance(network, GridNetwork) and kept.ndim > 2
        taken.append(kept.flatten(2).mean(2) if images else kept)

    network.bind = bound  # type: ignore[method-assign]
    handles = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, Activation)]
    try:
        yield
    finally:
        del network.bind
        for handle in handles:
            handle.remove()


def _name(path: str) -> str:
    """The network's name: that of its place, or of its owner if it is that one's only network."""
    return path.removesuffix(".network")


def _generated(
    parts: Parts, n: int, condition: Mapping[str, Any] | None, seed: int
) -> tuple[ak.Array, FeatureBatch, Tensor]:
    """Generated events, what is given of them, and their noise."""
    sampler = Sampler(parts, seed=seed, condition=condition, size=n)
    traces = [sampler.traced(number) for number in range(-(-n // BLOCK))]
    events = ak.concatenate([to_awkward(t.events) for t in traces])[:n]
    given = FeatureBatch.concatenate([t.given for t in traces])[:n]
    return events, given, torch.cat([t.noise for t in traces])[:n]


def encoded(parts: Parts, events: ak.Array, most: int) -> tuple[FeatureBatch, ak.Array]:
    """The first true events that the model could make, as features.

    Raises:
        InputError: If there are none, or they are not of the model's kind.
    """
    schema = needed(parts)
    events = parts.derived.entering(events)
    some = events[fitting(events, schema)][: 2 * most]
    if not len(some):
        msg = "no true events of the model's kind"
        raise InputError(msg)
    features, possible = parts.representation.encode_possible(to_batch(some, schema, device=parts.device))
    rows = possible.nonzero()[:most, 0]
    if not len(rows):
        msg = "no true events that the model could make"
        raise InputError(msg)
    return features[rows], some[rows.cpu().numpy()]


def _chunks(size: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, size)) for start in range(0, size, CHUNK)]


def _check(wanted: Sequence[str] | None, known: Sequence[str]) -> None:
    for layer in wanted or ():
        if layer not in known:
            msg = f"no hidden layer {layer!r}; there are {', '.join(known)}"
            raise InputError(msg)
