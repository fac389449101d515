"""One module: the switch that users hold, and how its configuration becomes tables."""
