"""Training without distillation."""
