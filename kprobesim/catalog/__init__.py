"""The file of a catalogue: what is known of one kernel, as rows and packed sections."""
