"""What a detector makes of events, learned: folding."""

from hepgan.detector.files import fold_file
from hepgan.detector.folding import Folding, folding_recipe
from hepgan.detector.pairs import Pairs, Profile, pairs, profile

__all__ = ["Folding", "Pairs", "Profile", "fold_file", "folding_recipe", "pairs", "profile"]
