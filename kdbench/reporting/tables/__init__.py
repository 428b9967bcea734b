"""One module per table of a report: from results to a `Table`."""
