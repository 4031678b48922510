"""Training, from the rows of arrays to epochs: what stands behind `backprop.training.Trainer`."""
