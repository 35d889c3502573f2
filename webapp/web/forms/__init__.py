"""Forms: one file per noun that has one. They name every field they take; what else was sent is ignored, and logged."""
