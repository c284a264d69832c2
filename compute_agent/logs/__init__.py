"""Container logs on disk: CRI records, rotated files, resume cursors, tails."""
