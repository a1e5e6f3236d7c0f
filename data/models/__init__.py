"""Other people's files: registry, fetching, checkpoints, and readers that run nothing of them."""
