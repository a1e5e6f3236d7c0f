"""Photos to latent codes: the encoder, its refinement, optimisation, checkpoints of pSp and e4e."""
