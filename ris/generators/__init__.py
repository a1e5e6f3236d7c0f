"""Face generators behind one protocol."""

from ris.generators.protocol import Activation, Generator

__all__ = ["Activation", "Generator"]
