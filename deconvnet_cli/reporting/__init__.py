"""Text, tables, previews and pages that people read."""
