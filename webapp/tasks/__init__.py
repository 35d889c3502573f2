"""What a worker may be asked to do: one short function per task type; an id in, nothing out."""
