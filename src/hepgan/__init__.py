"""Learn an event generator from your own ROOT files, and know how far to trust it."""
