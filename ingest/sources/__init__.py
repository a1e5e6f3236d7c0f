"""Which photos arguments name: folders, photos, lists of files, patterns, standard input."""
