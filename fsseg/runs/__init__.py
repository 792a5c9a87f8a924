"""What a run leaves on the disk and reports: folders, checkpoint files, loggers, progress, the test report."""
