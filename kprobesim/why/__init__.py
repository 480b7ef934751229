"""Why a function returned what it did: its run, recorded, followed back, and run another way."""
