"""What made the shipped weights: the encoder, the attribute classifier, the inverter's assets."""
