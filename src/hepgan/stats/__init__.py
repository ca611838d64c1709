"""Statistics, each formula once: for losses, the choice of checkpoints, weights and reports alike."""
