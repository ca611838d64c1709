"""Events: their schema, their tensors, and the files that they come from and go to."""
