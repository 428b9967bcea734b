"""The command line: `app.py` declares the commands, each of them has a file. No file here imports torch."""
