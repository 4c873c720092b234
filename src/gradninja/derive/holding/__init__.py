"""What was derived is held: to autograd, to a person's module, at other sizes and precisions."""
