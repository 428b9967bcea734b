"""The contract of a method, and the loop that keeps it."""
