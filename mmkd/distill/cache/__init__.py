"""Features of a teacher, computed once and kept."""
