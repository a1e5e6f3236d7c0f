"""Face generators behind one protocol."""

from ris.generators.generator import Activation, Generator

__all__ = ["Activation", "Generator"]
