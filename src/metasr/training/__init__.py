"""Lightning's room: the chain of stages, callbacks, progress, validation."""
