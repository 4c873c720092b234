"""What a person handed in: forward, backward, the values to judge on."""
