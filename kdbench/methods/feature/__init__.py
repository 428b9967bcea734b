"""Methods of the family: feature."""
