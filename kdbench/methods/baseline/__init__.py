"""Methods of the family: baseline."""
