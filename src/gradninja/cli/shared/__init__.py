"""What several verbs share: options, limits, processes."""
