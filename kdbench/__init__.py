"""kdbench: one TOML file in, one honest table out."""

__version__ = "0.1.0"
