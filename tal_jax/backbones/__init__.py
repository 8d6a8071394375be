"""Networks that turn a recording into the two feature maps a detector's pyramid starts from."""
