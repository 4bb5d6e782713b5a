"""Training: objective, step, state, optimiser, checkpoints, and the loop over them."""
