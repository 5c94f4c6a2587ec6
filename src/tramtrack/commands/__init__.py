"""The verbs of the command line, a file a topic: options in, calls to the rooms, tables out; no logic, late imports."""
