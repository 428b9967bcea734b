"""Where jobs run: `base` is the interface, `local` this machine, `ray` a cluster."""
