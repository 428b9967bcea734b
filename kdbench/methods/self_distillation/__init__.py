"""A network as its own teacher."""
