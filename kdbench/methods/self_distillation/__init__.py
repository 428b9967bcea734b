"""Methods of the family: self-distillation."""
