"""What went wrong in a run, and what is told of it: who stood where, with which locks."""
