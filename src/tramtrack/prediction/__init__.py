"""New exams: what a study's trained networks say of one, and how far that can be relied on."""
