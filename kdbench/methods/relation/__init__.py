"""Losses on the relations between the images of a batch."""
