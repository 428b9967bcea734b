"""Methods of the family: online."""
