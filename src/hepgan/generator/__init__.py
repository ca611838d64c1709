"""The face of hepgan: an event generator that is learned from events, and what derives one from another."""

from __future__ import annotations

from hepgan.generator.generator import EventGenerator, Latents, choose_device

__all__ = ["EventGenerator", "Latents", "choose_device"]
