"""Methods of the family: data-free."""
