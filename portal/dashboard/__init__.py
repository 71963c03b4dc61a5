"""Pages that read across apps: console, studio, health."""
