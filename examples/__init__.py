"""Programs that show what RIS does."""
