"""What a backward costs: traffic, calls, memory, digits."""
