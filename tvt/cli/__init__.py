"""The command line: one file per command, each thin; imported only when the command is called."""
