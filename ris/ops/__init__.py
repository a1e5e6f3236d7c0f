"""Native kernels, each beside its reference; see `ris.ops.native` for how they are built."""
