"""Networks whose inputs are multiplied by what their context says."""

from __future__ import annotations

from torch import Tensor

from hepgan.networks.base import Bound, Network
from hepgan.networks.drawing import Linear

__all__ = ["Product"]


class Product(Network):
    """A network of x times a linear function of the context, which it knows nothing else of.

    For classes, which are columns of 0 and 1, the function is a vector of each class: an embedding.

    Reference: A. Odena, C. Olah and J. Shlens, Conditional image synthesis with auxiliary classifier GANs,
    arXiv:1610.09585, and their multiplicative form in L. de Oliveira et al., arXiv:1701.05927.

    Args:
        network: The network, without a context.
        inputs: Columns of x.
        context: Columns of the context.
    """

    def __init__(self, network: Network, inputs: int, context: int) -> None:
        super().__init__()
        self.network = network
        self.factor = Linear(context, inputs)
        self.chunk = network.chunk
        self.whole_batch = network.whole_batch

    def bind(self, context: Tensor | None, mask: Tensor | None = None) -> Bound:
        """The network for this context (N, C)."""
        if context is None:
            msg = f"the network needs a context of {self.factor.in_features} columns"
            raise ValueError(msg)
        factor = self.factor(context)
        bound = self.network.bind(None, mask)

        def run(x: Tensor, time: Tensor | None = None) -> Tensor:
            return bound(x * factor, time)

        return run
