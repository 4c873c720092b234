"""What a step is made of: its batch, its update, its judge, what asks it to stop."""
