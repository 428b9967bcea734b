"""Networks that train together and teach one another."""
