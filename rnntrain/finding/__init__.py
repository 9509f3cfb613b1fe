"""A learning rate and a batch size to begin with: short trials on the run's own data, model and optimizer."""
