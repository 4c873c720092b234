"""Lines -> a graph that says what each element is, as a function of its place."""
