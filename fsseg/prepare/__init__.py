"""From official archives to the trees that data sets read: download, safe extraction, masks, lists."""
