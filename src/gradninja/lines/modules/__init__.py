"""A person's own objects: which one is meant, what stands around it, what its layers mean."""
