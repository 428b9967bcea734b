"""Methods of the family: relation."""
