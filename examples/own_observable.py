"""An observable that is a Python function, of files and of differentiable tensors alike.

python own_observable.py test.root generated.root
"""

from __future__ import annotations

import sys
from typing import Any

import hepgan
from hepgan.events import to_batch


def cos_helicity(events: Any) -> Any:
    """Cosine of the angle between the first muon, in the pair's rest frame, and the pair's direction."""
    muon = events.Muon[:, 0]
    pair = muon + events.Muon[:, 1]
    return muon.boostCM_of(pair).to_3D().unit().dot(pair.to_3D().unit())


HELICITY = hepgan.Observable(
    "cos_helicity", function=cos_helicity, bins=40, range=(-1, 1), label=r"$\cos\theta_\mathrm{hel}$"
)


def main(arguments: list[str]) -> None:
    """Evaluates the observable in both forms, and compares two files by it."""
    reference, generated = (hepgan.read_events(path) for path in arguments)

    # The same function of an awkward array, and of tensors, on which it has a gradient.
    in_file = HELICITY.flat(reference).values
    batch = to_batch(reference)
    pt = batch.Muon.fields["pt"].requires_grad_(True)
    values = HELICITY.flat(batch).values
    values.sum().backward()
    print("largest difference of the two forms:", abs(in_file - values.detach().numpy()).max())
    print("gradient with respect to the muons' pt:", pt.grad.shape)

    comparison = hepgan.compare(reference, generated, {"cos_helicity": HELICITY}, classifier=False)
    print("\n".join(comparison.verdicts()))


if __name__ == "__main__":
    main(sys.argv[1:])
