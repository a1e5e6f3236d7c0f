"""From any photo to the square crops that FFHQ-trained networks expect."""
