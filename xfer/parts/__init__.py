"""Work in parts, each done by itself, on any machine: which part, and the folder they fill."""
