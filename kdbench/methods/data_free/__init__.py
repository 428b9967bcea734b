"""Distillation without the training images."""
