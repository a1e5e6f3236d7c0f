"""The door: what `import ris` gives, and all that the commands call.

`ris.door.collection` is a collection of faces; beside it stand one module for each thing that can
be done with it, with the dataclasses that say what was done. Nothing else in the package imports
the door.
"""
