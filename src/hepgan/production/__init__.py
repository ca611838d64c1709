"""Production: many events, in bounded memory, written while they are generated."""

from hepgan.production.produce import Production, produce

__all__ = ["Production", "produce"]
