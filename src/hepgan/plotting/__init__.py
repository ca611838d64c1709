"""Every picture, from plain results."""
