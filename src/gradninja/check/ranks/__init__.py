"""A backward that a person wrote for one rank of many, judged on ranks in one process."""
