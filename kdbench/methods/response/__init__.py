"""Losses on the logits."""
