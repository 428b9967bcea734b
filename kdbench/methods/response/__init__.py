"""Methods of the family: response."""
