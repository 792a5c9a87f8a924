"""The files and reports of a run: folders, checkpoint files, loggers, progress, the test report."""
