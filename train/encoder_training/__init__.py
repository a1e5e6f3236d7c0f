"""Training of the encoder: rendered faces, photos, augmentation, losses and the loop."""
