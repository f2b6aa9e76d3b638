"""The commands: the only place that parses arguments, prints, or chooses files."""
