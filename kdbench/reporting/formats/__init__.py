"""One module per format: from a `Table` to text."""
