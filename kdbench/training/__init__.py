"""The contract of a method, and the training loop."""
