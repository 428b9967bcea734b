"""The command line: app.py declares the commands; the body of each is in a file of its name. No file imports torch."""
